// Who led when: a stretch for each term, another where nobody led.

import { store } from './store.js'
import { ago, plural } from './words.js'

const WINDOW_MS = 10 * 60_000
const WINDOW_MS_MIN = 30_000
const SHORT = 0.06 // a stretch narrower than this share of the line has no room for words

export function drawTerms ({ list, words, from }) {
  const now = Date.now() + store.ahead
  const first = store.terms[0]?.since ?? now
  const span = Math.min(WINDOW_MS, Math.max(WINDOW_MS_MIN, now - first))
  const begin = now - span
  const seen = store.terms.filter(t => (t.until ?? now) > begin)
  while (list.children.length > seen.length) list.lastChild.remove()
  while (list.children.length < seen.length) list.append(document.createElement('li'))
  seen.forEach((stretch, i) => {
    const last = (stretch.until ?? now) - Math.max(stretch.since, begin)
    fill(list.children[i], stretch, last, span)
  })
  from.textContent = `${ago(span)} ago`
  words.textContent = summary(now, begin)
}

function fill (item, stretch, lasted, span) {
  const words = stretch.leader ? `${stretch.leader} · term ${stretch.term}` : 'nobody'
  const style = String(Math.max(lasted, 1))
  if (item.style.flexGrow !== style) item.style.flexGrow = style
  item.className = `${stretch.leader ? '' : 'none'} ${lasted / span < SHORT ? 'short' : ''}`
  const told = `${words}, ${ago(lasted)}`
  if (item.title === told) return
  item.title = told
  item.textContent = words
}

function summary (now, begin) {
  const current = store.terms.at(-1)
  if (!current) return 'Nothing is known yet'
  const lasting = ago(now - current.since)
  const elections = store.terms.filter((t, i) => i > 0 && t.leader && t.since > begin).length
  const changes = elections ? `${plural(elections, 'election', 'elections')} seen` : 'no election seen'
  const leads = current.leader
    ? `${current.leader} has led term ${current.term} for ${lasting}`
    : `nobody has led for ${lasting}`
  return `${leads}; ${changes}`
}
