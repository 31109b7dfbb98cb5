// Three lines of the last five minutes. Owns their scales; must never know where samples come from.

import { store } from './store.js'
import { count, ms, plural } from './words.js'

const SVG = 'http://www.w3.org/2000/svg'
const SPAN_S = 300

class Plot {
  constructor (figure, title, unit, lines) {
    this.unit = unit
    const caption = document.createElement('figcaption')
    const name = document.createElement('h2')
    name.textContent = title
    this.reading = document.createElement('span')
    this.reading.className = 'reading'
    caption.append(name, this.reading)
    const area = document.createElement('div')
    area.className = 'plot'
    this.svg = document.createElementNS(SVG, 'svg')
    this.svg.setAttribute('viewBox', '0 0 300 100')
    this.svg.setAttribute('preserveAspectRatio', 'none')
    this.svg.setAttribute('role', 'img')
    for (const y of [0, 50, 100]) this.add('line', { x1: 0, x2: 300, y1: y, y2: y, class: 'grid' })
    this.lines = lines.map(([column, style]) => ({ column, path: this.add('path', { class: style }), style }))
    this.top = document.createElement('span')
    this.top.className = 'top-label'
    area.append(this.svg, this.top)
    const axis = document.createElement('p')
    axis.className = 'axis'
    axis.ariaHidden = 'true'
    axis.append(...['5 min ago', 'now'].map(words => {
      const span = document.createElement('span')
      span.textContent = words
      return span
    }))
    figure.append(caption, area, axis)
    this.title = title
  }

  add (name, attributes) {
    const element = document.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
    this.svg.append(element)
    return element
  }

  draw (words) {
    const { samples } = store
    const now = samples.at(-1)?.[0] ?? 0
    const columns = this.lines.map(l => l.column)
    const most = round(Math.max(1, ...samples.flatMap(s => columns.map(c => s[c] ?? 0))))
    for (const { column, path, style } of this.lines) {
      path.setAttribute('d', trace(samples, column, now, most, style === 'fill'))
    }
    this.top.textContent = this.unit(most)
    this.reading.replaceChildren(...words)
    this.svg.setAttribute('aria-label', `${this.title}: ${this.reading.textContent}`)
  }
}

// The next of 1, 2, 5, 10, 20, …
function round (n) {
  const step = 10 ** Math.floor(Math.log10(n))
  return [1, 2, 5, 10].map(m => m * step).find(m => m >= n)
}

// A line breaks where there is nothing to tell; a filled one goes down to the ground.
function trace (samples, column, now, most, filled) {
  let path = ''
  let open = null
  for (const sample of samples) {
    const value = sample[column]
    if (value === null || sample[0] < now - SPAN_S) {
      if (filled && open !== null) path += `L${open} 100Z`
      open = null
      continue
    }
    const x = (300 - (now - sample[0])).toFixed(1)
    const y = (100 - 100 * value / most).toFixed(1)
    if (open === null && filled) path += `M${x} 100L${x} ${y}`
    else path += `${open === null ? 'M' : 'L'}${x} ${y}`
    open = x
  }
  return filled && open !== null ? `${path}L${open} 100Z` : path
}

function small (words) {
  const element = document.createElement('small')
  element.textContent = words
  return element
}

export function makePlots (figures) {
  const rate = new Plot(figures.rate, 'Throughput', n => count(n), [[1, 'fill'], [1, 'a']])
  const latency = new Plot(figures.latency, 'Latency', n => ms(n), [[3, 'b'], [2, 'a']])
  const lag = new Plot(figures.lag, 'Lag', n => count(n), [[4, 'fill'], [4, 'a']])
  return function drawPlots () {
    const [, puts, middle, tail, behind] = store.samples.at(-1) ?? []
    rate.draw([count(puts), small(' commands/s')])
    latency.draw([ms(middle), small(` median, ${ms(tail)} p99`)])
    lag.draw([count(behind), small(` ${behind === 1 ? 'entry' : 'entries'}${furthest()}`)])
  }
}

function furthest () {
  const behind = store.nodes.filter(n => n.up && n.behind > 0).sort((a, b) => b.behind - a.behind)
  const silent = store.nodes.filter(n => !n.up).length
  if (behind.length) return `, ${behind[0].name}`
  return silent ? `, ${plural(silent, 'node', 'nodes')} silent` : ''
}
