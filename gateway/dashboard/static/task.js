// Builds a rule of conditions and groups, tries it on the last files, and saves the task.
import { ask, tell } from './cytobus.js'
import { condition, FIELDS, group, HOW, NAMED, read, write } from './rule.js'

const form = document.getElementById('task')
const raw = form.elements.JobSelector
const list = document.getElementById('conditions')
const join = document.getElementById('join')
const wrong = document.getElementById('wrong')
const words = JSON.parse(document.getElementById('builder').dataset.words)
const TOLD = { contains: words.contains, matches: words.matches, starts_with: words.starts, ends_with: words.ends, '==': words.is, '!=': '≠', '>=': '≥', '<=': '≤', in: words['one-of'] }

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

function button (text, label, act) {
  const made = document.createElement('button')
  Object.assign(made, { type: 'button', textContent: text })
  made.setAttribute('aria-label', label)
  made.addEventListener('click', act)
  return made
}

function negation (not) {
  const label = document.createElement('label')
  const box = document.createElement('input')
  Object.assign(box, { type: 'checkbox', checked: not })
  label.append(box, ` ${words.not}`)
  return [label, box]
}

const removal = row => button('×', words.remove, () => { row.remove(); written() })
const shown = node => node.parts ? groupRow(node) : conditionRow(node)

function added (place, node) {
  const row = shown(node)
  place.append(row)
  row.querySelector('select').focus()
  written()
}

function conditionRow (said) {
  const row = document.createElement('li')
  const [label, box] = negation(said.not)
  const field = choice(Object.keys(FIELDS).map(one => [one, words[one]]), said.field, words.field)
  const which = input(said.which, words.which, 9)
  const how = choice(HOW.map(one => [one, TOLD[one] || one]), said.how, words.how)
  const value = input(said.value, words.value, 16)
  row.read = () => ({ field: field.value, which: which.value, how: how.value, value: value.value, kind: said.kind, not: box.checked })
  const changed = () => {
    const named = NAMED[field.value]
    which.hidden = !named
    if (!named) return
    which.setAttribute('aria-label', which.placeholder = words[named])
    if (named === 'which') which.setAttribute('list', 'attributes'); else which.removeAttribute('list')
  }
  row.addEventListener('input', () => { changed(); written() })
  changed()
  row.append(label, field, which, how, value, removal(row))
  return row
}

function groupRow (said) {
  const row = document.createElement('li')
  row.className = 'group'
  const [label, box] = negation(said.not)
  const joined = choice([['and', words.all], ['or', words.any]], said.join, words.join)
  const parts = document.createElement('ul')
  parts.className = 'parts'
  parts.append(...said.parts.map(shown))
  row.read = () => group(joined.value, [...parts.children].map(one => one.read()), box.checked)
  for (const one of [joined, box]) one.addEventListener('input', written)
  const more = button('+', words.add, () => added(parts, condition()))
  const deeper = button('+ ( )', words.group, () => added(parts, group('or', [condition()])))
  row.append(label, joined, more, deeper, removal(row), parts)
  return row
}

function written () {
  const rule = write(group(join.value, [...list.children].map(row => row.read())))
  raw.value = rule === undefined ? '' : JSON.stringify(rule)
  document.getElementById('own').hidden = true
  soon()
}

function taken () {
  let whole
  try { whole = read(JSON.parse(raw.value)) } catch { whole = undefined }
  list.replaceChildren(...(whole?.parts || []).map(shown))
  if (whole) join.value = whole.join
  document.getElementById('own').hidden = Boolean(whole) || !raw.value
}

let timer, asked = 0
function soon () { clearTimeout(timer); timer = setTimeout(attempt, 300) }

function refuse (why) {
  wrong.hidden = !why
  wrong.textContent = why
  raw.setAttribute('aria-invalid', Boolean(why))
  raw.setAttribute('aria-describedby', 'wrong')
}

async function attempt () {
  const mine = ++asked
  const told = document.getElementById('tried'), body = document.getElementById('files')
  if (!raw.value.trim()) { body.replaceChildren(); refuse(''); return }
  let answer
  try { answer = await ask('GET', `/gateway/task-launcher/api/v1/tasks/try?rule=${encodeURIComponent(raw.value)}`) } catch (error) { answer = { Error: error.message, Tried: [] } }
  if (mine !== asked) return
  refuse(answer.Error)
  const wanted = answer.Tried.filter(one => one.Wanted).length
  told.textContent = answer.Tried.length ? told.dataset.of.replace('#wanted', wanted).replace('#all', answer.Tried.length) : told.dataset.none
  const first = [...answer.Tried].sort((a, b) => b.Wanted - a.Wanted) // what it wants is seen without scrolling
  body.replaceChildren(...first.map(one => {
    const row = document.createElement('tr')
    for (const text of [one.Wanted ? '✓' : '–', one.Name, one.Why]) row.insertCell().textContent = text
    row.className = one.Wanted ? 'wanted' : 'quiet'
    return row
  }))
}

function parameters () {
  for (const set of form.querySelectorAll('[data-pipeline]')) set.hidden = set.dataset.pipeline !== form.elements.PipelineId.value
}

function task () {
  const made = { JobSelector: raw.value, ModelParameters: {} }
  for (const name of ['Description', 'PipelineId', 'ResultFileFolder']) made[name] = form.elements[name].value
  for (const field of form.querySelectorAll('fieldset:not([hidden]) [data-parameter]')) {
    // What a task says once it says for ever (the contract's PUT adds): a field that was emptied means the default.
    const value = field.value || field.dataset.default
    if (value) made.ModelParameters[field.dataset.parameter] = value
  }
  return form.dataset.id ? { ...made, Id: form.dataset.id } : made
}

// What the gateway refuses is said beside the field that it names.
function complain (why) {
  const fields = { JobSelector: /selector/i, ResultFileFolder: /folder/i, Description: /description/i }
  const field = Object.keys(fields).find(name => fields[name].test(why))
  if (!field) { tell('failed', why); return }
  if (field === 'JobSelector') refuse(why)
  else Object.assign(form.querySelector(`[data-wrong="${field}"]`), { hidden: false, textContent: why })
  form.elements[field].focus()
}

form.addEventListener('submit', async event => {
  event.preventDefault()
  for (const one of form.querySelectorAll('[data-wrong]')) one.hidden = true
  const made = task()
  try {
    await ask(made.Id ? 'PUT' : 'POST', '/gateway/task-launcher/api/v1/task', made)
    location.href = '/tasks'
  } catch (error) { complain(error.message) }
})
raw.addEventListener('input', () => { taken(); soon() })
join.addEventListener('change', written)
document.getElementById('add').addEventListener('click', () => added(list, condition()))
document.getElementById('add-group').addEventListener('click', () => added(list, group('or', [condition(), condition()])))
form.elements.PipelineId.addEventListener('change', parameters)
parameters()
taken()
if (!raw.value) list.append(conditionRow(condition()))
attempt()
