// One key, looked at: the entry that it was clicked in, and its value now, which is fetched only
// when somebody asks. Where the dashboard allows writes, they are made here, never over a change
// that was not seen.

import { store } from './store.js'
import { base64, bytes, bytesOf, count, dayAndTime, ms, readable, shown, timeOfDay, typed } from './words.js'

const $ = id => document.getElementById(id)
const dialog = $('inspect')
let opened = 0 // answers about a row that was left, or to an earlier question, are not shown
let asked = 0

export function start () {
  $('inspect-close').addEventListener('click', () => dialog.close())
  dialog.addEventListener('click', event => event.target === dialog && dialog.close())
  $('inspect-form').addEventListener('submit', event => {
    event.preventDefault()
    showValue()
  })
}

export function inspect (row) {
  opened++
  asked++
  const key = row?.key ?? null
  $('inspect-title').textContent = row ? `Entry ${count(row.index)}` : 'Look up a key'
  $('inspect-form').hidden = Boolean(row) && key === null
  $('inspect-key').value = key === null ? '' : shown(key)
  for (const id of ['inspect-entry', 'inspect-now', 'inspect-write']) $(id).replaceChildren()
  dialog.showModal()
  if (!row) $('inspect-key').focus()
  else if (key === null) $('inspect-close').focus()
  else $('inspect-form').querySelector('button').focus()
  if (row) showEntry(row)
}

// -- the entry -----------------------------------------------------------------------------------
function showEntry (row) {
  const facts = [
    ['What', row.refused ? `${row.op}, refused: ${row.refused.replaceAll('_', ' ')}` : row.op], ['Author', row.author || '–'], ['Revision', row.revision ? count(row.revision) : '–'],
    ['Size', row.size === null ? '–' : bytes(row.size)], ['Term', count(row.term)],
    ['Proposed', timeOfDay(row.wall)], ['Latency', ms(row.ms)]
  ]
  $('inspect-entry').replaceChildren(heading('In the log'), list(facts))
  showNodes(row, opened)
}

async function showNodes (row, mine) {
  const answer = await fetch(`/api/entry?index=${row.index}&term=${row.term}`).catch(() => null)
  if (!answer?.ok) return
  const { nodes } = await answer.json()
  if (mine !== opened || !nodes.length) return
  const table = document.createElement('table')
  table.append(line('th', ['Node', 'came at', 'saved', 'committed', 'applied']))
  for (const [name, received, ...times] of nodes) {
    const words = times.map(t => (t === null ? '–' : `+${ms(t)}`))
    table.append(line('td', [name, timeOfDay(received), ...words], true))
  }
  $('inspect-entry').append(heading('On each node'), table)
}

function line (kind, cells, headed = false) {
  const row = document.createElement('tr')
  row.append(...cells.map((words, i) => {
    const cell = document.createElement(headed && i === 0 ? 'th' : kind)
    cell.textContent = words
    if (cell.tagName === 'TH') cell.scope = headed ? 'row' : 'col'
    return cell
  }))
  return row
}

// -- its value -----------------------------------------------------------------------------------
async function showValue () {
  const mine = ++asked
  const key = typed($('inspect-key').value)
  say('inspect-now', 'Asking…')
  try {
    const found = await ask(`/api/key?${new URLSearchParams({ key: base64(key) })}`)
    if (mine === asked) fillValue(key, found)
  } catch (error) {
    if (mine === asked) say('inspect-now', error.message, 'wrong')
  }
}

function fillValue (key, found) {
  if (!found.found) {
    say('inspect-now', 'There is no such key now.')
    if (store.token) offerWrite(key, '', 0)
    return
  }
  const value = bytesOf({ base64: found.value })
  const cut = value.length < found.size
  const text = readable(value, cut)
  const body = document.createElement('pre')
  body.tabIndex = 0
  body.textContent = text
  const facts = [
    ['Revision', `${count(found.revision)}, version ${count(found.version)}, since ${count(found.created)}`],
    ['Put by', found.author], ['When', dayAndTime(found.wall)],
    ['Size', bytes(found.size) + (cut ? `, of which the first ${bytes(value.length)}` : '')]
  ]
  $('inspect-now').replaceChildren(heading('Now'), list(facts), body)
  if (store.token) offerWrite(key, cut || !isText(value) ? null : text, found.revision)
}

function isText (array) {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(array) !== null
  } catch {
    return false
  }
}

// -- writes --------------------------------------------------------------------------------------
function offerWrite (key, text, revision) {
  const form = document.createElement('form')
  const words = document.createElement('p')
  words.role = 'status'
  const buttons = document.createElement('div')
  buttons.className = 'buttons'
  const area = document.createElement('textarea')
  if (text !== null) {
    const label = document.createElement('label')
    label.append('New value', area)
    area.rows = 5
    area.value = text
    form.append(label)
    buttons.append(button('Save', 'submit', 'first'))
  } else {
    form.append('A value that is not text, or longer than what is shown, is changed with dkvctl put.')
  }
  if (revision) buttons.append(deleter(() => write('delete', { key: base64(key), expected: revision }, words)))
  form.append(buttons, words)
  form.addEventListener('submit', event => {
    event.preventDefault()
    write('put', { key: base64(key), value: area.value, expected: revision }, words)
  })
  $('inspect-write').replaceChildren(heading(revision ? 'Change it' : 'Put it'), form)
}

// Twice: the second click is the yes.
function deleter (done) {
  const made = button('Delete', 'button')
  made.addEventListener('click', () => {
    if (made.textContent === 'Delete') made.textContent = 'Delete it for good'
    else done()
  })
  return made
}

async function write (what, body, words) {
  words.textContent = 'Asking…'
  words.className = ''
  try {
    const done = await ask(`/api/${what}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Dkv-Token': store.token },
      body: JSON.stringify(body)
    })
    words.textContent = what === 'put' ? `Done, revision ${count(done.revision)}.` : 'Deleted.'
    showValue()
  } catch (error) {
    words.textContent = error.message
    words.className = 'wrong'
  }
}

// -- small things --------------------------------------------------------------------------------
async function ask (url, options) {
  const answer = await fetch(url, options).catch(() => {
    throw new Error('The dashboard does not answer.')
  })
  const body = await answer.json()
  if (!answer.ok) throw new Error(body.words)
  return body
}

function say (id, words, style = '') {
  const made = document.createElement('p')
  made.textContent = words
  made.className = style
  $(id).replaceChildren(made)
  $('inspect-write').replaceChildren()
}

function heading (words) {
  const made = document.createElement('h3')
  made.textContent = words
  return made
}

function list (facts) {
  const made = document.createElement('dl')
  for (const [name, words] of facts) {
    const [term, value] = [document.createElement('dt'), document.createElement('dd')]
    term.textContent = name
    value.textContent = words
    made.append(term, value)
  }
  return made
}

function button (words, type, style = '') {
  const made = document.createElement('button')
  Object.assign(made, { type, textContent: words, className: style })
  return made
}
