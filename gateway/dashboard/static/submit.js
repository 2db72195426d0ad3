// Submits files in pieces (tus 1.0.0). Whatever breaks, each goes on where the gateway says that it was.
import { ask, check, tell } from './cytobus.js'

const RECEIVER = '/gateway/file-receiver-gateway'
const LEAST = 256 * 1024
const FIRST = 1024 * 1024
const MOST = 8 * 1024 * 1024
const AT_ONCE = 3
const LISTED = 200 // lines of files; more would only slow the page down
const KEPT = 'cytobus-submission'
const SYSTEMS = new Set(['thumbs.db', 'desktop.ini', '.ds_store'])
const FOR_GOOD = status => status >= 400 && status < 500 && ![401, 404, 408, 409, 423, 425, 429, 460].includes(status)

const root = document.getElementById('submission')
const words = JSON.parse(root.dataset.words)
const list = document.getElementById('uploads')
const all = []
let next = 0; let working = 0; let paused = false; let stop = new AbortController()
let batch = root.dataset.batch; let making; let began = 0; let beganBytes = 0; let sentBytes = 0

const code = text => { let made = ''; for (const byte of new TextEncoder().encode(text)) made += String.fromCharCode(byte); return btoa(made) }
const bytes = count => { let value = count; for (const unit of ['B', 'kB', 'MB', 'GB']) { if (value < 1000) return `${value.toPrecision(3)} ${unit}`.replace(/^(\d+)\.0+ B/, '$1 B'); value /= 1000 } return `${value.toPrecision(3)} TB` }
const filled = (text, named) => text.replace(/{(\w+)}/g, (_, key) => named[key])

class Final extends Error {}

// --- one file

async function asked (method, path, headers, body) {
  const answer = await fetch(path, { method, headers: { 'Tus-Resumable': '1.0.0', 'X-Cytobus-Check': check, ...headers }, body, signal: stop.signal })
  if (answer.ok) return answer
  const why = (await answer.text()).trim() || `${answer.status}`
  if (FOR_GOOD(answer.status)) throw new Final(why)
  const error = new Error(why)
  error.status = answer.status
  error.after = Number(answer.headers.get('Retry-After')) || 0
  throw error
}

async function located (item) {
  const told = { batch, filename: item.path, modified: `${item.file.lastModified}` }
  const metadata = Object.entries(told).map(([key, value]) => `${key} ${code(value)}`).join(',')
  const answer = await asked('POST', `${RECEIVER}/api/v1/submissions`, { 'Upload-Length': `${item.file.size}`, 'Upload-Metadata': metadata })
  item.url = RECEIVER + answer.headers.get('Location')
  return answer
}

async function checksum (piece) {
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', piece))
  return `sha256 ${btoa(String.fromCharCode(...digest))}`
}

async function piece (item) {
  let content
  try {
    content = await item.file.slice(item.offset, item.offset + item.piece).arrayBuffer()
  } catch {
    throw new Final(words.unreadable)
  }
  const headers = { 'Upload-Offset': `${item.offset}`, 'Content-Type': 'application/offset+octet-stream', 'Upload-Checksum': await checksum(content) }
  const answer = await asked('PATCH', item.url, headers, content)
  moved(item, Number(answer.headers.get('Upload-Offset')))
  item.piece = Math.min(MOST, item.piece * 2)
}

function moved (item, offset) {
  sentBytes += offset - item.offset
  item.offset = offset
  show(item)
}

// Until it is there, or can never be.
async function send (item) {
  let wait = 500
  while (true) {
    await resumed()
    try {
      if (item.file.size === 0) throw new Final(words.unreadable)
      const known = item.url ? await asked('HEAD', item.url) : await located(item)
      moved(item, Number(known.headers.get('Upload-Offset')))
      while (item.offset < item.file.size) {
        await piece(item)
        wait = 500
        item.said = ''
      }
      return
    } catch (error) {
      if (error instanceof Final) throw error
      if (paused) continue
      if (error.status === 404) item.url = '' // it has expired
      item.piece = Math.max(LEAST, item.piece / 4)
      item.said = `${words.waiting} ${error.status ? error.message : ''}`
      show(item)
      await pause(Math.max(wait, 1000 * (error.after || 0)) * (0.75 + Math.random() / 2))
      wait = Math.min(wait * 2, 8000)
    }
  }
}

function pause (milliseconds) {
  return new Promise(resolve => {
    const timer = setTimeout(resolve, milliseconds)
    addEventListener('online', () => { clearTimeout(timer); resolve() }, { once: true })
  })
}

let wake = []
function resumed () { return paused ? new Promise(resolve => wake.push(resolve)) : Promise.resolve() }

// --- all of them

async function work () {
  working += 1
  while (next < all.length) {
    const item = all[next++]
    item.state = 'sending'
    show(item)
    try {
      await send(item)
      item.state = 'done'
    } catch (error) {
      item.state = 'failed'
      item.said = error.message
    }
    show(item)
  }
  working -= 1
  if (!working) finished()
}

function finished () {
  const failed = all.filter(item => item.state === 'failed').length
  document.getElementById('pause').hidden = true
  total()
  localStorage.removeItem(KEPT) // whatever was refused, is refused for good
  if (!failed) {
    if (!root.dataset.batch) location.href = `/batches/${batch}`
  } else {
    document.getElementById('told').textContent += ` ${filled(words.refused, { count: failed })}`
  }
}

async function made () {
  const said = { Name: document.getElementById('batch-name').value, Task: document.getElementById('batch-task').value }
  const answer = await ask('POST', '/gateway/job-repository/api/v1/batches', said)
  batch = answer.Id
  for (const field of ['batch-name', 'batch-task']) document.getElementById(field).disabled = true
}

export async function add (found) {
  const wanted = found.filter(one => one.path.split('/').every(level => !SYSTEMS.has(level.toLowerCase()) && !level.startsWith('._')))
  if (!wanted.length) return
  if (!crypto.subtle) { tell('failed', words.insecure); return }
  try {
    if (!batch) await (making ||= made())
  } catch (error) {
    making = undefined
    tell('failed', error.message)
    return
  }
  localStorage.setItem(KEPT, JSON.stringify({ batch, name: document.getElementById('batch-name')?.value || document.querySelector('h1').textContent }))
  document.getElementById('sending').hidden = false
  document.getElementById('pause').hidden = false
  const where = document.getElementById('where')
  if (!root.dataset.batch) { where.hidden = false; where.firstElementChild.href = `/batches/${batch}` }
  if (!working) { began = performance.now(); beganBytes = sentBytes }
  for (const one of wanted) all.push({ ...one, offset: 0, piece: FIRST, state: 'waiting', said: '', url: '' })
  total()
  while (working < Math.min(AT_ONCE, all.length - next + working) && next < all.length) work()
}

// --- what is seen

function show (item) {
  if (!item.line && list.children.length < LISTED) {
    item.line = document.createElement('li')
    const name = document.createElement('span')
    const bar = document.createElement('progress')
    const said = document.createElement('span')
    name.textContent = item.path
    bar.max = Math.max(1, item.file.size)
    bar.setAttribute('aria-label', item.path)
    said.className = 'said'
    item.line.append(name, bar, said)
    list.append(item.line)
  }
  if (item.line) {
    item.line.dataset.state = item.state
    item.line.classList.toggle('failed', item.state === 'failed')
    item.line.children[1].value = item.offset
    const far = `${bytes(item.offset)} / ${bytes(item.file.size)}`
    item.line.children[2].textContent = item.said || { done: words.done, sending: far }[item.state] || ''
    if (item.state === 'done' && all.length > LISTED / 2) { item.line.remove(); item.line = undefined }
  }
  if (!drawing) drawing = requestAnimationFrame(total)
}

// Of all files, so not more often than anybody sees.
let drawing = 0
function total () {
  cancelAnimationFrame(drawing)
  drawing = 0
  const size = all.reduce((sum, item) => sum + item.file.size, 0)
  const there = all.reduce((sum, item) => sum + (item.state === 'failed' ? item.file.size : item.offset), 0)
  const bar = document.getElementById('sent')
  bar.max = Math.max(1, size)
  bar.value = there
  const seconds = (performance.now() - began) / 1000
  const speed = seconds > 1 ? `${bytes((sentBytes - beganBytes) / seconds)}/s` : '–'
  const done = all.filter(item => item.state === 'done').length
  document.getElementById('told').textContent = filled(words.total, { done, files: all.length, sent: bytes(there), size: bytes(size), speed: paused ? words.paused : speed })
}

document.getElementById('pause').addEventListener('click', event => {
  paused = !paused
  event.target.textContent = paused ? words.resume : words.pause
  if (paused) {
    stop.abort()
  } else {
    stop = new AbortController()
    for (const go of wake.splice(0)) go()
  }
  total()
})

// --- where files come from

for (const kind of ['files', 'folder']) {
  const field = document.getElementById(`pick-${kind}`)
  document.querySelector(`[data-pick="${kind}"]`).addEventListener('click', () => field.click())
  field.addEventListener('change', () => {
    add([...field.files].map(file => ({ file, path: file.webkitRelativePath || file.name })))
    field.value = ''
  })
}

async function walked (entry, folder = '') {
  const path = folder + entry.name
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path }]
  const reader = entry.createReader()
  const found = []
  // A reader gives some at a time, and at last none.
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;) {
    for (const one of some) found.push(...await walked(one, `${path}/`))
  }
  return found
}

const zone = document.getElementById('drop')
for (const name of ['dragenter', 'dragover']) zone.addEventListener(name, event => { event.preventDefault(); zone.classList.add('over') })
for (const name of ['dragleave', 'drop']) zone.addEventListener(name, event => { event.preventDefault(); zone.classList.remove('over') })
for (const name of ['dragover', 'drop']) addEventListener(name, event => event.preventDefault()) // beside it, a drop would open the file
zone.addEventListener('drop', async event => {
  const entries = [...event.dataTransfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean)
  const plain = [...event.dataTransfer.files].map(file => ({ file, path: file.name }))
  try {
    add(entries.length ? (await Promise.all(entries.map(entry => walked(entry)))).flat() : plain)
  } catch { tell('failed', words.unreadable) }
})
addEventListener('beforeunload', event => { if (working) event.preventDefault() })

const kept = JSON.parse(localStorage.getItem(KEPT) || 'null')
const told = document.getElementById('interrupted')
if (kept && told) {
  told.hidden = false
  Object.assign(told.querySelector('a'), { href: `/batches/${encodeURIComponent(kept.batch)}`, textContent: kept.name || kept.batch.slice(0, 8) })
}
if (kept && kept.batch === batch) root.closest('details').open = true
root.dataset.ready = 'true'
