// The stream of commands: a windowed list, the newest on top. Owns pause, scrolling back and which
// row is chosen; a pool of elements is filled anew for what is in sight, so the page never grows.

import { newerThan, ROWS_MAX, rowOf, store } from './store.js'
import { bytes, count, ms, plural, shown } from './words.js'

const VIEW_MAX = 20_000 // rows of a paused view, with what was scrolled back to
const OLDER = 500
const AHEAD = 4 // rows beyond the edge that are filled too

export class LogView {
  constructor (parts, { filter, open }) {
    Object.assign(this, parts, { filter, open })
    this.pool = []
    this.frozen = null // the rows of a paused view, the oldest first
    this.chosen = 0 // the row that the keyboard is at, from the top
    this.end = '' // why there is nothing older, in words
    this.rows.addEventListener('scroll', () => this.scrolled(), { passive: true })
    this.rows.addEventListener('keydown', event => this.pressed(event))
    this.rows.addEventListener('click', event => this.clicked(event))
    this.rows.addEventListener('focusin', event => event.target !== this.rows && this.pause())
    this.button.addEventListener('click', () => (this.frozen ? this.resume() : this.pause()))
    new ResizeObserver(() => this.measure()).observe(this.rows)
  }

  get list () { return this.frozen ?? store.rows }
  at (fromTop) { return this.list[this.list.length - 1 - fromTop] }

  // -- pause and scrolling back ------------------------------------------------------------------
  pause () {
    if (this.frozen) return
    this.frozen = store.rows.slice()
    this.end = ''
    this.button.textContent = 'Resume'
    this.button.ariaPressed = 'true'
    this.draw()
  }

  resume () {
    this.frozen = null
    this.chosen = 0
    this.rows.scrollTop = 0
    this.button.textContent = 'Pause'
    this.button.ariaPressed = 'false'
    this.draw()
  }

  scrolled () {
    if (this.rows.scrollTop > 2) this.pause()
    this.draw()
    const left = this.rows.scrollHeight - this.rows.scrollTop - this.rows.clientHeight
    if (this.frozen && left < 10 * this.height) this.fetchOlder()
  }

  async fetchOlder () {
    const view = this.frozen
    if (this.fetching || this.end || !view.length) return
    if (view.length >= VIEW_MAX) {
      this.end = `these are the last ${count(VIEW_MAX)}; dkvctl tail --from goes back further`
      return
    }
    this.fetching = true
    const first = view[0]
    const query = new URLSearchParams({
      ...this.filter(), before: first.index, position: first.position, limit: OLDER
    })
    try {
      const answer = await fetch(`/api/log?${query}`)
      if (!answer.ok) throw new Error(await answer.text())
      const { rows, end } = await answer.json()
      if (this.frozen === view) view.unshift(...rows.map(rowOf))
      this.end = rows.length ? '' : end
    } catch (error) {
      this.end = `older rows did not come: ${error.message}`
    } finally {
      this.fetching = false
      this.draw()
    }
  }

  // -- keyboard and mouse ------------------------------------------------------------------------
  pressed (event) {
    const page = Math.max(1, Math.floor(this.rows.clientHeight / this.height) - 1)
    const steps = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity
    }
    if (event.key in steps) {
      this.choose(this.chosen + steps[event.key])
    } else if (event.key === 'Enter' || event.key === ' ') {
      const row = this.at(this.chosen)
      if (row) this.open(row)
    } else {
      return
    }
    event.preventDefault()
  }

  choose (fromTop) {
    this.pause()
    this.chosen = Math.max(0, Math.min(this.list.length - 1, fromTop))
    const [top, room] = [this.chosen * this.height, this.rows.clientHeight]
    if (top < this.rows.scrollTop) this.rows.scrollTop = top
    else if (top + this.height > this.rows.scrollTop + room) this.rows.scrollTop = top + this.height - room
    this.draw()
    this.pool.find(p => p.fromTop === this.chosen)?.element.focus({ preventScroll: true })
  }

  clicked (event) {
    const element = event.target.closest('.row')
    const found = this.pool.find(p => p.element === element)
    if (!found) return
    this.chosen = found.fromTop
    this.pause()
    const row = this.at(found.fromTop)
    if (row) this.open(row)
  }

  // -- drawing -----------------------------------------------------------------------------------
  measure () {
    const probe = this.pool[0] ?? this.addToPool()
    this.height = probe.element.offsetHeight || 30
    this.table.style.setProperty('--bar', `${this.rows.offsetWidth - this.rows.clientWidth}px`)
    const needed = Math.ceil(this.rows.clientHeight / this.height) + 2 * AHEAD
    while (this.pool.length < needed) this.addToPool()
    while (this.pool.length > needed) this.pool.pop().element.remove()
    this.draw()
  }

  addToPool () {
    const element = document.createElement('div')
    element.className = 'row'
    element.role = 'row'
    const cells = {}
    for (const name of ['index', 'marks', 'op', 'key', 'author', 'revision', 'size', 'ms']) {
      cells[name] = document.createElement('span')
      cells[name].className = name
      cells[name].role = 'cell'
      element.append(cells[name])
    }
    this.window.append(element)
    const made = { element, cells, fromTop: -1, top: -1 }
    this.pool.push(made)
    return made
  }

  draw () {
    if (!this.height) return this.measure()
    const total = this.list.length
    const tall = `${total * this.height}px`
    if (this.window.style.height !== tall) this.window.style.height = tall
    this.table.ariaRowCount = String(total + 1)
    const first = Math.max(0, Math.floor(this.rows.scrollTop / this.height) - AHEAD)
    if (!this.frozen) this.chosen = 0
    for (let i = 0; i < this.pool.length; i++) {
      const fromTop = first + i
      this.fill(this.pool[fromTop % this.pool.length], fromTop, this.at(fromTop))
    }
    this.say()
  }

  fill (slot, fromTop, row) {
    const { element, cells } = slot
    slot.fromTop = row ? fromTop : -1
    element.hidden = !row
    if (!row) return
    const top = fromTop * this.height
    if (slot.top !== top) {
      element.style.transform = `translateY(${top}px)`
      slot.top = top
      element.ariaRowIndex = String(fromTop + 2)
    }
    element.tabIndex = fromTop === this.chosen ? 0 : -1
    const style = `row ${row.refused ? 'refused' : row.key === null ? 'inner' : row.op}`
    if (element.className !== style) element.className = style
    put(cells.index, count(row.index))
    put(cells.op, row.refused ? 'refused' : row.op)
    put(cells.key, row.key === null ? '' : shown(row.key))
    put(cells.author, row.author)
    put(cells.revision, row.revision ? count(row.revision) : '')
    put(cells.size, row.size === null ? '' : bytes(row.size))
    put(cells.ms, row.ms === null ? '' : ms(row.ms))
    this.fillMarks(cells.marks, row)
  }

  fillMarks (cell, row) {
    const names = store.nodes.map(n => n.name)
    while (cell.children.length < names.length) cell.append(document.createElement('i'))
    while (cell.children.length > names.length) cell.lastChild.remove()
    const told = names.map((name, i) => {
      const [saved, applied] = store.marks[name] ?? [0, 0]
      const state = row.index <= applied ? 'applied' : row.index <= saved ? 'saved' : ''
      const style = `mark ${state}`
      if (cell.children[i].className !== style) cell.children[i].className = style
      return `${name} ${state || 'not yet'}`
    }).join(', ')
    if (cell.title !== told) {
      cell.title = told
      cell.ariaLabel = told
    }
  }

  say () {
    const names = store.nodes.map(n => n.name).join(', ')
    put(this.names, names && `on ${names}`)
    this.table.style.setProperty('--marks', `${Math.max(3.25, store.nodes.length * 0.9 + 0.3)}rem`)
    put(this.words, this.sentence())
  }

  sentence () {
    const left = store.skipped
      ? ` ${plural(store.skipped, 'command was', 'commands were')} left out: this page is too slow.`
      : ''
    if (!this.frozen) {
      const filtered = Object.values(this.filter()).some(Boolean)
      if (!this.list.length) return filtered ? 'Nothing matches yet.' : 'Nothing was written yet.'
      return `Following.${left}`
    }
    const newer = newerThan(this.frozen.at(-1)?.index ?? 0)
    const words = newer < ROWS_MAX ? `${count(newer)} newer` : `more than ${count(ROWS_MAX)} newer`
    return `Paused${newer ? `, ${words}` : ''}. ${this.end}`
  }
}

function put (element, words) {
  if (element.textContent !== words) element.textContent = words
}
