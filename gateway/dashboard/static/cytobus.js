// What every page does: times in the reader's zone, buttons that call the API, lists that stay alive.
export const check = document.querySelector('meta[name="cytobus-check"]').content
const language = document.documentElement.lang
const nearest = navigator.languages.find(one => one.startsWith(language)) || language
const shape = new Intl.DateTimeFormat(nearest, { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' })

export function local (root) {
  for (const time of root.querySelectorAll('time[datetime]')) {
    const text = shape.format(new Date(time.dateTime))
    if (time.textContent !== text) { time.title = time.dateTime; time.textContent = text }
  }
}

export function tell (where, words) {
  const line = document.createElement('p')
  line.textContent = words
  document.getElementById(where).replaceChildren(line)
  clearTimeout(tell.timer)
  tell.timer = setTimeout(() => line.remove(), where === 'failed' ? 12000 : 4000)
}

// A body is sent as JSON, but a Blob as it is.
export async function ask (method, path, body) {
  const headers = { 'X-Cytobus-Check': check }
  const raw = body === undefined || body instanceof Blob
  if (!raw) headers['Content-Type'] = 'application/json'
  let answer
  try {
    answer = await fetch(path, { method, headers, body: raw ? body : JSON.stringify(body) })
  } catch {
    throw new Error(document.getElementById('line').dataset.lost)
  }
  const text = await answer.text()
  if (!answer.ok) throw new Error(text.trim() || `${answer.status}`)
  try { return JSON.parse(text) } catch { return text }
}

// Parts marked data-part are fetched anew; what has the focus keeps it, what is ticked stays so. Only what the gateway says
// otherwise than before is replaced: what a person has done with a part since (zoomed, say) is not undone by other news.
const TYPED = 'input:not([type="checkbox"]), textarea, select'
const given = new WeakMap([...document.querySelectorAll('[data-part]')].map(part => [part, part.innerHTML]))
const boxes = (part, value) => part.querySelector(`input[type="checkbox"][value="${CSS.escape(value)}"]`)

function renew (part, fresh) {
  const active = part.contains(document.activeElement) ? document.activeElement : undefined
  const held = active?.dataset.key, box = active?.matches('input') ? active.value : undefined
  const ticked = [...part.querySelectorAll('input[type="checkbox"]:checked')].map(one => one.value)
  part.innerHTML = fresh
  for (const value of ticked) { const one = boxes(part, value); if (one) one.checked = true }
  const again = held ? part.querySelector(`[data-key="${CSS.escape(held)}"]`) : box && boxes(part, box)
  again?.focus()
}

export async function refresh () {
  const here = document.querySelector('[data-refresh]')?.dataset.refresh || location.href
  const answer = await fetch(here, { headers: { Accept: 'text/html' } })
  if (new URL(answer.url).pathname === '/sign-in') { location.href = answer.url; return }
  if (answer.status >= 500) throw Object.assign(new Error(answer.statusText), { kind: 'away' })
  if (!answer.ok) return
  const made = new DOMParser().parseFromString(await answer.text(), 'text/html')
  for (const part of document.querySelectorAll('[data-part]')) {
    const fresh = made.querySelector(`[data-part="${part.dataset.part}"]`)
    if (!fresh && part.dataset.else === 'reload') { location.reload(); return }
    if (!fresh || part.contains(document.activeElement) && document.activeElement.matches(TYPED)) continue
    const said = fresh.innerHTML
    if (said === given.get(part)) continue
    given.set(part, said)
    local(fresh)
    renew(part, fresh.innerHTML)
  }
  document.dispatchEvent(new Event('refreshed'))
}

async function pressed (button) {
  if (button.dataset.sure && !confirm(button.dataset.sure)) return
  let body = button.dataset.body === undefined ? undefined : JSON.parse(button.dataset.body)
  const field = button.dataset.reason && document.querySelector(button.dataset.reason)
  if (field && field.value) body = { ...body, Reason: field.value }
  const chosen = button.dataset.choice && document.querySelector(button.dataset.choice)
  if (chosen) body = { ...body, [chosen.name]: chosen.value }
  const ids = button.dataset.many ? [...document.querySelectorAll(button.dataset.many)].map(box => box.value) : ['']
  button.disabled = true
  try {
    for (const id of ids) {
      for (const to of button.dataset.to.split(' ')) {
        const [path, verb] = to.replace('{id}', encodeURIComponent(id)).split('|')
        await ask(verb || button.dataset.call, path, verb ? undefined : body)
      }
    }
    if (button.dataset.then) { location.href = button.dataset.then; return }
    tell('said', button.dataset.said || button.textContent.trim() + ' ✓')
    if (field) field.value = ''
    await refresh()
  } catch (error) {
    tell('failed', error.message)
  }
  button.disabled = false
}

document.addEventListener('click', event => {
  const button = event.target.closest('button[data-call]')
  if (button) pressed(button)
})
document.addEventListener('keydown', event => {
  if (event.target.matches('input[data-hotkey]') && ['Enter', 'Escape'].includes(event.key)) {
    event.preventDefault()
    event.target.blur() // the other keys mean something again
    return
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches(TYPED)) return
  const found = document.querySelector(`[data-hotkey="${CSS.escape(event.key.toLowerCase())}"]`)
  if (!found || found.disabled) return
  event.preventDefault()
  if (found.matches('input')) found.focus(); else found.click()
})
document.addEventListener('change', event => {
  const all = event.target.dataset.all
  if (all) for (const box of document.querySelectorAll(all)) box.checked = event.target.checked
  if (event.target.matches('[data-at-once]')) event.target.form.requestSubmit()
})
// What is cut off for want of room is told whole.
document.addEventListener('pointerover', event => {
  const cell = event.target.closest('#jobs td')
  if (cell && cell.scrollWidth > cell.clientWidth) cell.title = cell.textContent
})
for (const field of document.querySelectorAll('[data-zone]')) field.value = Intl.DateTimeFormat().resolvedOptions().timeZone
for (const field of document.querySelectorAll('[data-here]')) field.value = location.pathname + location.search
document.getElementById('sign-in')?.addEventListener('submit', async event => {
  event.preventDefault()
  const form = event.target
  try {
    await ask('POST', '/gateway/job-repository/api/v1/login', Object.fromEntries(new FormData(form)))
    location.href = form.dataset.next
  } catch (error) { tell('failed', error.message) }
})

// --- live

const line = document.getElementById('line')
export function shown (kind, why = '') {
  line.hidden = !kind
  if (kind) line.textContent = line.dataset[kind] + (why ? ` (${why})` : '')
}

const FEW = 6 // so many rows at once are worth the eye; more would only flicker, and keep a small computer busy

// As if all were put in anew; those that stay where they are are not touched.
function arrange (body, wanted) {
  const kept = new Set(wanted)
  for (const row of [...body.rows]) if (!kept.has(row)) row.remove()
  let at = body.firstElementChild
  for (const row of wanted) {
    if (row === at) at = at.nextElementSibling
    else body.insertBefore(row, at)
  }
}

function rows (table, told) {
  const body = table.tBodies[0]
  const known = new Map([...body.rows].map(row => [row.dataset.id, row]))
  const held = body.contains(document.activeElement) ? document.activeElement.closest('tr').dataset.id : undefined
  const changed = Object.entries(told.rows || {})
  for (const [id, html] of changed) {
    const made = document.createElement('template')
    made.innerHTML = html
    const row = made.content.firstElementChild
    local(row)
    const old = known.get(id)
    if (old && old.outerHTML === row.outerHTML) continue
    if (old) old.replaceWith(row)
    known.set(id, row)
    if (changed.length > FEW) continue
    row.classList.add('fresh')
    setTimeout(() => row.classList.remove('fresh'), 50)
  }
  if (told.order) {
    arrange(body, told.order.map(id => known.get(id)).filter(Boolean))
    const none = document.getElementById('none')
    if (none) none.hidden = body.rows.length > 0
  }
  if (held) body.querySelector(`tr[data-id="${CSS.escape(held)}"] a`)?.focus()
}

function counts (told) {
  for (const chip of document.querySelectorAll('.chips [data-state]')) {
    const count = told[chip.dataset.state] || 0
    chip.hidden = !count
    chip.querySelector('b').textContent = count
  }
}

function follow (path, hear) {
  const stream = new EventSource(path)
  stream.onopen = () => shown('')
  stream.onmessage = event => {
    const told = JSON.parse(event.data)
    shown(told.away ? 'away' : '', told.away)
    if (!told.away) hear(told)
  }
  stream.onerror = () => {
    shown('lost')
    // After an answer that is none a browser gives up; the gateway may only be starting.
    if (stream.readyState === EventSource.CLOSED) {
      setTimeout(() => follow(path, hear), 1500)
    }
  }
  addEventListener('pagehide', () => stream.close())
}

local(document)
const list = document.querySelector('table[data-live]')
if (list) {
  follow(list.dataset.live, told => {
    rows(list, told)
    if (told.counts && Object.keys(told.counts).length) counts(told.counts)
  })
}
const watched = document.querySelector('[data-follow]')
if (watched) follow(watched.dataset.follow, () => refresh().catch(error => shown(error.kind || 'lost')))
const slow = document.querySelector('[data-every]')
if (slow) {
  setInterval(() => refresh().then(() => shown(''), error => shown(error.kind || 'lost')), 1000 * slow.dataset.every)
}

// A page that shows nothing live still says when what it is to change cannot be reached.
async function lives () {
  const known = document.querySelector('header nav a')
  try {
    const answer = await fetch(known ? '/gateway/job-repository/api/v1/health' : '/api/v1/health')
    shown(answer.status >= 500 ? 'away' : '')
  } catch { shown('lost') }
}
if (!list && !watched && !slow) setInterval(lives, 4000)
document.getElementById('invite-form')?.addEventListener('submit', async event => {
  event.preventDefault()
  const told = document.getElementById('code')
  try {
    const made = await ask('POST', '/gateway/job-repository/api/v1/enrolments', Object.fromEntries(new FormData(event.target)))
    told.textContent = `${told.dataset.words} cytobus enroll ${location.protocol}//${location.hostname} '${made.Code}${told.dataset.mark}'`
  } catch (error) { tell('failed', error.message) }
})
document.documentElement.dataset.ready = 'true'
