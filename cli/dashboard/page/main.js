// The page's parts put together: what comes by the stream is taken at once and drawn once a frame.

import { inspect, start as startInspect } from './inspect.js'
import { LogView } from './log.js'
import { drawNodes } from './nodes.js'
import { makePlots } from './plots.js'
import { store, take } from './store.js'
import { drawTerms } from './terms.js'
import { base64, plural, typed } from './words.js'

const TYPING_MS = 250
const RETRY_MS = 1_000
const $ = id => document.getElementById(id)

// -- colours -------------------------------------------------------------------------------------
const system = matchMedia('(prefers-color-scheme: dark)')
const isDark = () => (document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark'

function nameTheme () {
  $('theme').textContent = isDark() ? 'Light' : 'Dark'
}

$('theme').addEventListener('click', () => {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark'
  nameTheme()
  try {
    localStorage.setItem('dkv-theme', document.documentElement.dataset.theme)
  } catch {
    // storage is forbidden here: the choice lasts until the page is closed
  }
})
system.addEventListener('change', nameTheme)
nameTheme()

// -- parts ---------------------------------------------------------------------------------------
function filter () {
  const form = new FormData($('filter'))
  return { prefix: base64(typed(form.get('prefix'))), author: form.get('author').trim() }
}

const log = new LogView({
  table: document.querySelector('.table'),
  rows: $('rows'),
  window: $('window'),
  button: $('pause'),
  words: $('log-words'),
  names: $('legend-nodes')
}, { filter, open: inspect })
const drawPlots = makePlots({ rate: $('plot-rate'), latency: $('plot-latency'), lag: $('plot-lag') })
const terms = { list: $('terms'), words: $('terms-words'), from: $('terms-from') }
startInspect()
$('look-up').addEventListener('click', () => inspect(null))

// -- the cluster in a sentence -------------------------------------------------------------------
let lost = ''

function health () {
  const { nodes } = store
  const silent = nodes.filter(n => !n.up).map(n => n.name)
  const leader = store.terms.at(-1)?.leader
  const denied = nodes.find(n => n.denied)
  if (lost) return [lost, true]
  if (denied) return [`${denied.name} refuses this dashboard: ${denied.denied}`, true]
  if (!nodes.length) return ['Looking for the cluster…', false]
  if (silent.length === nodes.length) return ['No node answers.', true]
  const gone = silent.length ? ` ${silent.join(', ')} ${silent.length === 1 ? 'does' : 'do'} not answer.` : ''
  if (!leader) {
    return [`Nobody leads: writes wait until a majority of the members agree.${gone}`, true]
  }
  const ill = nodes.find(n => n.up && n.why)
  if (gone) return [`${leader} leads.${gone}`, true]
  if (ill) return [`${leader} leads. ${ill.name}: ${ill.why}`, true]
  return [`${leader} leads. ${nodes.length > 1 ? 'All ' : ''}${plural(nodes.length, 'node is', 'nodes are')} well.`, false]
}

function drawHealth () {
  const [words, wrong] = health()
  if ($('health-words').textContent !== words) $('health-words').textContent = words
  $('health').classList.toggle('wrong', wrong)
}

// -- once a frame --------------------------------------------------------------------------------
const dirty = { nodes: true, terms: true, samples: true }
let due = false

function drawSoon () {
  if (due) return
  due = true
  requestAnimationFrame(() => {
    due = false
    drawHealth()
    if (dirty.nodes) drawNodes($('nodes'))
    if (dirty.nodes || dirty.terms) drawTerms(terms)
    if (dirty.samples) drawPlots()
    Object.assign(dirty, { nodes: false, terms: false, samples: false })
    log.draw()
  })
}

// -- the stream ----------------------------------------------------------------------------------
let stream = null

function connect () {
  stream?.close()
  const mine = stream = new EventSource(`/api/stream?${new URLSearchParams(filter())}`)
  mine.onmessage = event => {
    lose('')
    const update = JSON.parse(event.data)
    take(update)
    dirty.nodes ||= 'nodes' in update
    dirty.terms ||= 'terms' in update
    dirty.samples ||= 'samples' in update
    drawSoon()
  }
  mine.onerror = () => {
    lose('This page has lost the dashboard, and tries to reach it again.')
    if (mine.readyState === EventSource.CLOSED) reopen(mine)
  }
}

// The browser gives up after an answer that is no stream: is it that our cookie counts no more?
async function reopen (mine) {
  const answer = await fetch('/api/stream', { method: 'HEAD' }).catch(() => null)
  if (answer?.status === 401) {
    lose('The dashboard was started anew: open the link that it has printed.')
  }
  setTimeout(() => stream === mine && connect(), RETRY_MS)
}

function lose (words) {
  lost = words
  $('trouble').hidden = !words
  if ($('trouble').textContent !== words) $('trouble').textContent = words
  drawSoon()
}

let typing = 0
$('filter').addEventListener('input', () => {
  clearTimeout(typing)
  typing = setTimeout(() => {
    connect()
    log.resume()
  }, TYPING_MS)
})
$('filter').addEventListener('submit', event => event.preventDefault())
connect()
