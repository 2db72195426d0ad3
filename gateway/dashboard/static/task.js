// Builds a rule (JSONLogic) of conditions, tries it on the last files, and saves the task.
import { ask, tell } from './cytobus.js'

const form = document.getElementById('task')
const raw = form.elements.JobSelector
const list = document.getElementById('conditions')
const join = document.getElementById('join')
const words = JSON.parse(document.getElementById('builder').dataset.words)
const FIELDS = { name: 'InputFile.Name', extension: 'InputFile.Extension', hostname: 'InputFile.Hostname', folder: 'InputFile.DirName', size: 'InputFile.Size', attribute: 'InputFile.Attributes.' }
const HOW = { contains: words.contains, matches: words.matches, starts_with: words.starts_with, ends_with: words.ends_with, '==': words.is, '!=': '≠', '>': '>', '>=': '≥', '<': '<', '<=': '≤', in: words.in }

function choice (options, chosen, label) {
  const select = document.createElement('select')
  select.setAttribute('aria-label', label)
  for (const [value, text] of options) select.append(new Option(text, value, false, value === chosen))
  return select
}

function input (value, label, size) {
  const made = document.createElement('input')
  Object.assign(made, { value, placeholder: label, size })
  made.setAttribute('aria-label', label)
  return made
}

function add (said = { field: 'name', which: '', how: 'contains', value: '', not: false }) {
  const row = document.createElement('li')
  const not = document.createElement('label')
  const box = document.createElement('input')
  Object.assign(box, { type: 'checkbox', checked: said.not })
  not.append(box, ` ${words.not}`)
  const field = choice(Object.keys(FIELDS).map(one => [one, words[one]]), said.field, words.field)
  const which = input(said.which, words.which, 9)
  const how = choice(Object.entries(HOW), said.how, words.how)
  const value = input(said.value, words.value, 16)
  const away = document.createElement('button')
  Object.assign(away, { type: 'button', textContent: '×' })
  away.setAttribute('aria-label', words.remove)
  away.addEventListener('click', () => { row.remove(); written() })
  row.read = () => ({ field: field.value, which: which.value, how: how.value, value: value.value, not: box.checked })
  const changed = () => { which.hidden = field.value !== 'attribute'; written() }
  row.addEventListener('input', changed)
  which.hidden = said.field !== 'attribute'
  row.append(not, field, which, how, value, away)
  list.append(row)
}

function rule ({ field, which, how, value, not }) {
  const place = { var: FIELDS[field] + (field === 'attribute' ? which : '') }
  const number = field === 'size' || ['>', '>=', '<', '<='].includes(how)
  const typed = number && value.trim() !== '' && !isNaN(value) ? Number(value) : value
  const made = how === 'contains' ? { in: [value, place] } : how === 'in' ? { in: [place, value.split(',').map(one => one.trim())] } : { [how]: [place, typed] }
  return not ? { '!': [made] } : made
}

// The other way round; nothing for what these conditions cannot say.
function condition (made) {
  let not = false
  if (made?.['!']) { not = true; made = [made['!']].flat()[0] }
  const entries = Object.entries(made || {})
  if (entries.length !== 1 || !Array.isArray(entries[0][1]) || entries[0][1].length !== 2) return
  let [how, [one, other]] = entries[0]
  if (how === 'in' && typeof one === 'string') { [one, other] = [other, one]; how = 'contains' }
  if (!HOW[how] || typeof one?.var !== 'string' || typeof other === 'object' && how !== 'in') return
  const field = Object.keys(FIELDS).find(key => key === 'attribute' ? one.var.startsWith(FIELDS[key]) : one.var === FIELDS[key])
  if (!field || how === 'in' && !(Array.isArray(other) && other.every(each => typeof each === 'string'))) return
  return { field, which: field === 'attribute' ? one.var.slice(FIELDS.attribute.length) : '', how, value: how === 'in' ? other.join(', ') : String(other), not }
}

function written () {
  const rules = [...list.children].map(row => rule(row.read()))
  raw.value = rules.length ? JSON.stringify(rules.length === 1 ? rules[0] : { [join.value]: rules }) : ''
  document.getElementById('own').hidden = true
  soon()
}

function taken () {
  list.replaceChildren()
  let whole
  try { whole = JSON.parse(raw.value) } catch { whole = undefined }
  const joined = whole?.and || whole?.or
  const found = (Array.isArray(joined) ? joined : whole === undefined ? [] : [whole]).map(condition)
  const all = found.every(Boolean)
  if (all) { join.value = whole?.or ? 'or' : 'and'; found.forEach(add) }
  document.getElementById('own').hidden = all || !raw.value
}

let timer, asked = 0
function soon () { clearTimeout(timer); timer = setTimeout(attempt, 300) }

async function attempt () {
  const mine = ++asked
  const wrong = document.getElementById('wrong'), told = document.getElementById('tried'), body = document.getElementById('files')
  if (!raw.value.trim()) { body.replaceChildren(); wrong.hidden = true; return }
  let answer
  try { answer = await ask('GET', `/gateway/task-launcher/api/v1/tasks/try?rule=${encodeURIComponent(raw.value)}`) } catch (error) { answer = { Error: error.message, Tried: [] } }
  if (mine !== asked) return
  wrong.hidden = !answer.Error
  wrong.textContent = answer.Error
  raw.setAttribute('aria-invalid', Boolean(answer.Error))
  const wanted = answer.Tried.filter(one => one.Wanted).length
  told.textContent = answer.Tried.length ? told.dataset.of.replace('#wanted', wanted).replace('#all', answer.Tried.length) : told.dataset.none
  body.replaceChildren(...answer.Tried.map(one => {
    const row = document.createElement('tr')
    for (const text of [one.Wanted ? '✓' : '–', one.Name, one.Why]) row.insertCell().textContent = text
    row.className = one.Wanted ? 'wanted' : 'quiet'
    return row
  }))
}

function parameters () {
  for (const set of form.querySelectorAll('[data-pipeline]')) set.hidden = set.dataset.pipeline !== form.elements.PipelineId.value
}

form.addEventListener('submit', async event => {
  event.preventDefault()
  const task = { JobSelector: raw.value, ModelParameters: {} }
  for (const name of ['Description', 'PipelineId', 'ResultFileFolder']) task[name] = form.elements[name].value
  for (const field of form.querySelectorAll('fieldset:not([hidden]) [data-parameter]')) {
    if (field.value !== '') task.ModelParameters[field.dataset.parameter] = field.value
  }
  if (form.dataset.id) task.Id = form.dataset.id
  try {
    await ask(task.Id ? 'PUT' : 'POST', '/gateway/task-launcher/api/v1/task', task)
    location.href = '/tasks'
  } catch (error) { tell('failed', error.message) }
})
raw.addEventListener('input', () => { taken(); soon() })
join.addEventListener('change', written)
document.getElementById('add').addEventListener('click', () => { add(); list.lastElementChild.querySelector('select').focus() })
form.elements.PipelineId.addEventListener('change', parameters)
parameters()
taken()
if (!raw.value) add()
attempt()
