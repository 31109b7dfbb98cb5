// Numbers, times and bytes as people read them. Owns the words; must never know the page.

const grouped = new Intl.NumberFormat('en')
const clock = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3
})
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' })

export const count = n => (n === null || n === undefined ? '–' : grouped.format(n))

export function bytes (n) {
  if (n === null || n === undefined) return '–'
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
    if (n >= size) return `${(n / size).toFixed(n >= 100 * size ? 0 : 1)} ${unit}`
  }
  return `${n} B`
}

export function ms (n) {
  if (n === null || n === undefined) return '–'
  if (n >= 10_000) return `${(n / 1000).toFixed(0)} s`
  if (n >= 1000) return `${(n / 1000).toFixed(1)} s`
  return `${n < 10 ? n.toFixed(1) : n.toFixed(0)} ms`
}

export function ago (milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  if (seconds < 60) return `${seconds} s`
  const minutes = Math.floor(seconds / 60)
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`
}

export const timeOfDay = wall => (wall ? clock.format(wall) : '–')
export const dayAndTime = wall => (wall ? day.format(wall) : '–')
export const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`

// -- keys and values: text where they are UTF-8, else {base64} ----------------------------------
export function bytesOf (said) {
  if (typeof said === 'string') return new TextEncoder().encode(said)
  return Uint8Array.from(atob(said.base64), c => c.charCodeAt(0))
}

// What does not print is escaped: a key comes from anybody.
export function shown (said) {
  if (typeof said === 'string') return said.replace(/[\p{C}\p{Zl}\p{Zp}\\]/gu, escaped)
  return [...bytesOf(said)].map(b => {
    const char = String.fromCharCode(b)
    return /[ -~]/.test(char) && char !== '\\' ? char : b < 0x80 ? escaped(char) : `\\x${hex(b)}`
  }).join('')
}

const hex = b => b.toString(16).padStart(2, '0')

function escaped (char) {
  if (char === '\\') return '\\\\'
  if (char === '\n') return '\\n'
  if (char === '\t') return '\\t'
  const point = char.codePointAt(0)
  return point < 0x80 ? `\\x${hex(point)}` : `\\u{${point.toString(16)}}`
}

// The way back of `shown`, for what is typed into a field.
export function typed (text) {
  const parts = []
  const marks = /\\(?:x([0-9a-f]{2})|u\{([0-9a-f]{1,6})\}|([nt\\]))/giy
  for (let at = 0; at < text.length;) {
    marks.lastIndex = at
    const found = marks.exec(text)
    if (found === null) {
      const char = String.fromCodePoint(text.codePointAt(at))
      parts.push(...new TextEncoder().encode(char))
      at += char.length
      continue
    }
    const [all, byte, point, letter] = found
    if (byte) parts.push(parseInt(byte, 16))
    else if (point) parts.push(...new TextEncoder().encode(String.fromCodePoint(parseInt(point, 16))))
    else parts.push({ n: 10, t: 9, '\\': 92 }[letter])
    at += all.length
  }
  return Uint8Array.from(parts)
}

export const base64 = array => btoa(Array.from(array, b => String.fromCharCode(b)).join(''))

// A value for reading: its text, or 16 bytes a line. `cut`: bytes at the end may be half a letter.
export function readable (array, cut) {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(array, { stream: cut })
    if (!/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text)) return text
  } catch {
    // not text
  }
  const lines = []
  for (let at = 0; at < array.length; at += 16) {
    const part = [...array.subarray(at, at + 16)]
    const plain = part.map(b => (b >= 0x20 && b < 0x7f ? String.fromCharCode(b) : '·')).join('')
    lines.push(`${at.toString(16).padStart(6, '0')}  ${part.map(hex).join(' ').padEnd(48)} ${plain}`)
  }
  return lines.join('\n')
}
