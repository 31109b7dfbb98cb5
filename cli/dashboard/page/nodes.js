// A card for each node: its four actors in their ring, and what it says of itself.

import { store } from './store.js'
import { bytes, count } from './words.js'

const SVG = 'http://www.w3.org/2000/svg'
const ACTORS = ['gateway', 'consensus', 'log', 'machine'] // the way of a write, clockwise
const RADIUS = 44
const [X, Y] = [150, 80]
const GAP = 9 // degrees free at each end of an arc
const PLACES = [ // where an actor's words stand: its name, then its numbers
  { at: -90, x: 150, name: 8, numbers: 23, anchor: 'middle' },
  { at: 0, x: 208, name: 75, numbers: 92, anchor: 'start' },
  { at: 90, x: 150, name: 142, numbers: 157, anchor: 'middle' },
  { at: 180, x: 92, name: 75, numbers: 92, anchor: 'end' }
]
const cards = new Map()

export function drawNodes (root) {
  const names = new Set(store.nodes.map(n => n.name))
  for (const [name, card] of cards) {
    if (!names.has(name)) {
      card.element.remove()
      cards.delete(name)
    }
  }
  for (const node of store.nodes) {
    if (!cards.has(node.name)) {
      cards.set(node.name, makeCard())
      root.append(cards.get(node.name).element)
    }
    fill(cards.get(node.name), node)
  }
}

// -- making --------------------------------------------------------------------------------------
function draw (parent, name, attributes) {
  const element = document.createElementNS(SVG, name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  parent.append(element)
  return element
}

function point (degrees, radius) {
  const angle = degrees * Math.PI / 180
  return `${(X + radius * Math.cos(angle)).toFixed(2)} ${(Y + radius * Math.sin(angle)).toFixed(2)}`
}

function arc (from, to) {
  return `M${point(from, RADIUS)}A${RADIUS} ${RADIUS} 0 0 1 ${point(to, RADIUS)}`
}

function makeCard () {
  const element = document.createElement('article')
  const title = document.createElement('h3')
  title.className = 'unseen'
  const inside = document.createElement('div')
  element.append(title, inside)
  const svg = draw(inside, 'svg', { viewBox: '22 -4 256 166', role: 'img' })
  const actors = PLACES.map(place => drawActor(svg, place))
  const name = draw(svg, 'text', { x: X, y: Y + 1, class: 'name', 'text-anchor': 'middle' })
  const role = draw(svg, 'text', { x: X, y: Y + 17, class: 'role', 'text-anchor': 'middle' })
  const facts = document.createElement('dl')
  const why = document.createElement('p')
  why.className = 'why'
  inside.append(facts, why)
  const values = {}
  for (const fact of ['Term', 'Applied', 'Behind', 'Log', 'State']) {
    const [row, term, value] = ['div', 'dt', 'dd'].map(n => document.createElement(n))
    term.textContent = fact
    row.append(term, value)
    facts.append(row)
    values[fact] = value
  }
  return { element, title, svg, actors, name, role, facts, why, values }
}

function drawActor (svg, place) {
  const [from, to] = [place.at - 45 + GAP, place.at + 45 - GAP]
  draw(svg, 'path', { d: arc(from, to), class: 'arc' })
  const busy = draw(svg, 'path', {
    d: arc(from, to), class: 'arc busy', pathLength: 100, 'stroke-dasharray': '0 200'
  })
  // An arrow into the next arc: which way a write goes.
  const turn = place.at + 45
  draw(svg, 'path', {
    d: `M${point(turn - 3, RADIUS - 3.5)}L${point(turn + 4, RADIUS)}L${point(turn - 3, RADIUS + 3.5)}Z`,
    class: 'arrow'
  })
  const words = { x: place.x, 'text-anchor': place.anchor }
  const name = draw(svg, 'text', { ...words, y: place.name, class: 'actor' })
  const numbers = draw(svg, 'text', { ...words, y: place.numbers })
  const depth = draw(numbers, 'tspan', { class: 'depth' })
  const share = draw(numbers, 'tspan', { class: 'busy-words', dx: 5 })
  return { busy, name, depth, share }
}

// -- filling -------------------------------------------------------------------------------------
function say (element, words) {
  if (element.textContent !== words) element.textContent = words
}

const ROLES = { leader: 'leads', candidate: 'campaigns', follower: 'follows', learner: 'learns' }

function fill (card, node) {
  const role = node.up ? ROLES[node.role] ?? node.role : 'does not answer'
  card.element.className = `card node${node.role === 'leader' && node.up ? ' leads' : ''}${node.up ? '' : ' silent'}`
  say(card.title, `${node.name} ${role}`)
  say(card.name, node.name)
  say(card.role, node.up ? role : 'silent')
  const told = ACTORS.map((name, i) => fillActor(card.actors[i], name, node.up ? node.actors[i] : null))
  card.svg.setAttribute('aria-label', `${node.name} ${role}. ${told.join('; ')}`)
  card.facts.hidden = !node.up
  card.why.hidden = !(node.denied || node.why)
  say(card.why, node.denied || node.why)
  if (!node.up) return
  say(card.values.Term, count(node.term))
  say(card.values.Applied, count(node.applied))
  say(card.values.Behind, count(node.behind))
  say(card.values.Log, bytes(node.log_bytes))
  say(card.values.State, bytes(node.state_bytes))
}

function fillActor (parts, name, told) {
  const [depth, busy] = told ?? [null, 0]
  parts.busy.setAttribute('stroke-dasharray', `${Math.min(100, busy * 100).toFixed(1)} 200`)
  const share = busy > 0 && busy < 0.01 ? '<1 %' : `${Math.round(busy * 100)} %`
  say(parts.name, name)
  say(parts.depth, depth === null ? '–' : count(depth))
  say(parts.share, depth === null ? '' : share)
  return `${name}: mailbox ${count(depth)}, busy ${share}`
}
