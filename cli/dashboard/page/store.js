// What the page knows. Owns the bounds of it all: however long the page is open, it keeps so many
// rows and samples. Must never know how they are drawn.

export const ROWS_MAX = 5_000
const SAMPLES_MAX = 300

export const store = {
  nodes: [], // as the dashboard tells of each
  marks: {}, // node → [saved, applied]: up to which entry
  rows: [], // commands, the oldest first
  skipped: 0, // rows that the dashboard left out, for this page was too slow
  samples: [], // [at, puts a second, p50, p99, lag]
  terms: [], // { term, leader, since, until }
  ahead: 0, // the dashboard's clock less this one's, ms
  token: '' // what a write must show; empty: none may be made
}

// What changed, as names of the fields above.
export function take (update) {
  if (update.whole) {
    Object.assign(store, { rows: [], samples: [], skipped: 0 })
    store.token = update.token
  }
  store.ahead = update.now - Date.now()
  if (update.nodes) store.nodes = update.nodes
  if (update.terms) store.terms = update.terms
  if (update.marks) store.marks = update.marks
  if (update.cut) cutFrom(update.cut)
  if (update.rows) addRows(update.rows)
  if (update.skipped) store.skipped += update.skipped
  if (update.settled) update.settled.forEach(settle)
  if (update.samples) addSamples(update.samples)
}

export function rowOf ([index, term, position, op, key, author, revision, size, wall, ms, refused]) {
  return { index, term, position, op, key, author, revision, size, wall, ms, refused }
}

function addRows (told) {
  for (const each of told) store.rows.push(rowOf(each))
  // By a quarter at a time, so that moving the rest costs little a row.
  if (store.rows.length > ROWS_MAX * 1.25) store.rows = store.rows.slice(-ROWS_MAX)
}

// How many rows are beyond this entry.
export const newerThan = index => store.rows.length - firstAt(index + 1)

// Another leader has replaced the entries from this one on.
function cutFrom (index) {
  store.rows.length = firstAt(index)
}

// An entry is applied: what became of its commands.
function settle ([index, term, ms, results]) {
  for (let at = firstAt(index); at < store.rows.length && store.rows[at].index === index; at++) {
    const row = store.rows[at]
    if (row.term !== term) continue
    const [revision, refused] = results[row.position]
    Object.assign(row, { ms, revision, refused })
  }
}

function firstAt (index) {
  let low = 0
  let high = store.rows.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (store.rows[middle].index < index) low = middle + 1
    else high = middle
  }
  return low
}

function addSamples (told) {
  store.samples.push(...told)
  if (store.samples.length > SAMPLES_MAX) store.samples.splice(0, store.samples.length - SAMPLES_MAX)
}
