// The map of cells: what is drawn, what is selected on it, and what is then done with that.
import { ask, local, shown, tell } from './cytobus.js'
import { Columns, unpacked } from './map-columns.js'
import { palette, shades, swatch } from './map-colours.js'
import { Gallery } from './map-gallery.js'
import { lists } from './map-lists.js'
import { drawer } from './map-plain.js'
import { Scatter } from './map-scatter.js'
import { Tools } from './map-tools.js'

const root = document.getElementById('map')
const words = JSON.parse(root.dataset.words)
const api = '/gateway/cell-index/api/v1/'
const $ = id => document.getElementById(id)
const say = (name, put = {}) => words[name].replace(/{(\w+)}/g, (_, key) => put[key])
const number = new Intl.NumberFormat(document.documentElement.lang)
const few = value => Number.isFinite(value) ? new Intl.NumberFormat(document.documentElement.lang, { maximumSignificantDigits: 4 }).format(value) : '–'
const PAUSE = 250 // ms between two pieces of news: what comes more often is drawn together

const state = {
  cells: new Columns(), shade: new Float32Array(0), chosen: new Uint8Array(0), names: {}, hidden: new Set(),
  range: [0, 1], last: 0, run: 0, selection: undefined, told: undefined
}
let scatter, tools

// --- what is asked for

function query () {
  const asked = new URLSearchParams()
  if ($('model').value) asked.append('model', $('model').value)
  if ($('instrument').value) asked.append('instrument', $('instrument').value)
  if ($('since').value) asked.append('since', `${BigInt(Math.floor(Date.now() / 1000) - $('since').value) * 1000000000n}`)
  return asked
}

const plain = () => ['class', 'instrument', 'at'].includes($('colour').value)
const fields = () => ['id', 'x', 'y', 'class', 'instrument', 'at', ...(plain() ? [] : [$('colour').value])].join(',')

function options (select, names, kept = []) {
  const before = select.value
  const wanted = [...kept, ...names.map(name => [name, name])]
  if (JSON.stringify(wanted) === select.dataset.there) return
  select.dataset.there = JSON.stringify(wanted)
  const parent = select.id === 'colour' ? $('features') : select
  parent.replaceChildren(...wanted.map(([value, text]) => new Option(text, value)))
  if ([...select.options].some(one => one.value === before)) select.value = before
}

async function about () {
  const told = await ask('GET', `${api}map`)
  const first = !$('model').options.length
  options($('model'), told.Models.filter(Boolean))
  if (first && told.Models.length) $('model').value = told.Models.at(-1)
  options($('instrument'), told.Instruments, [['', $('instrument').options[0].text]])
  options($('colour'), told.Features)
  const fresh = !$('feature').options.length
  options($('feature'), told.Features)
  if (fresh && told.Features.includes('area')) $('feature').value = 'area'
  if ($('gate-feature')) options($('gate-feature'), told.Features, [['', $('gate-feature').options[0].text]])
  $('troubles').hidden = !told.Troubles.length
  $('troubles').textContent = told.Troubles.length ? say('troubles', { count: told.Troubles.length, why: told.Troubles[0].Why }) : ''
  drifted(told.Drift.find(one => one.Model === $('model').value))
  const maps = JSON.stringify(told.Maps)
  if (state.maps && state.maps !== maps) { state.maps = maps; follow() } // a new map: every place has changed
  state.maps = maps
  return told
}

function drifted (found) {
  $('drift').hidden = !found
  if (!found) return
  $('drift').className = found.Drifted ? 'trouble waiting' : 'quiet under'
  $('drift').textContent = say('drift', { far: number.format(found.Far), seen: number.format(found.Seen) }) + (found.Drifted && found.Why ? ` ${found.Why}` : '')
}

// All cells anew, and then those that come, until something else is asked for.
async function follow () {
  const run = ++state.run
  Object.assign(state, { cells: new Columns(), last: 0, names: {}, begun: false })
  delete root.dataset.loaded
  scatter?.put(0, 0, [], [], state.shade, state.chosen)
  let whole = false
  const asked = query()
  while (run === state.run) {
    try {
      asked.set('fields', fields())
      asked.set('after', state.last)
      asked.set('wait', whole ? 10 : 0)
      const answer = await fetch(`${api}map/points?${asked}`)
      if (run !== state.run) return
      if (answer.status === 400 && !plain()) { $('colour').value = 'class'; continue } // a feature that is no more
      if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { kind: answer.status >= 500 ? 'away' : 'lost' })
      const { about: told, columns } = unpacked(await answer.arrayBuffer())
      if (run !== state.run) return
      shown('')
      if (told.Last < state.last) return follow() // the gateway was set back: what is shown here is no longer there
      take(told, columns)
      state.last = told.Last
      whole ||= !told.More && !told.Loading
      if (whole && !state.begun && state.cells.count) begin()
      if (whole) counted()
      if (columns.id.length && !$('model').value) await about()
      if (!told.More) await new Promise(resolve => setTimeout(resolve, PAUSE))
    } catch (error) {
      shown(error.kind || 'lost')
      await new Promise(resolve => setTimeout(resolve, 1500))
    }
  }
}

function begin () {
  state.begun = true
  scale()
  paint(0)
  if (scatter && !root.dataset.looked) scatter.fit(state.cells.extent())
  root.dataset.looked = 'true'
  legend()
  if (state.selection) select(state.selection)
  root.dataset.loaded = 'true'
}

function take (told, columns) {
  const more = told.ClassNames.length !== state.names.class?.length || told.InstrumentNames.length !== state.names.instrument?.length
  state.names = { class: told.ClassNames, instrument: told.InstrumentNames }
  const first = state.cells.add(columns)
  if (!scatter) return
  for (const [name, made] of [['shade', Float32Array], ['chosen', Uint8Array]]) {
    if (state[name].length < state.cells.room) {
      const larger = new made(state.cells.room)
      larger.set(state[name].subarray(0, first))
      state[name] = larger
    }
  }
  shade(first)
  if (state.selection?.Polygon && state.cells.count > first) state.cells.within(state.selection.Polygon, state.chosen, first)
  else state.chosen.fill(0, first, state.cells.count)
  const { x, y } = state.cells.all
  scatter.put(first, state.cells.count, x, y, state.shade, state.chosen)
  if (more && state.begun) legend()
}

function counted () {
  root.dataset.count = state.cells.count
  $('told').textContent = state.cells.count ? say('shown', { count: number.format(state.cells.count) }) : words.empty
}

// --- colours

const kind = () => $('colour').value

function scale () {
  if (['class', 'instrument'].includes(kind())) return
  const column = state.cells.column(kind())
  const step = Math.max(1, Math.floor(column.length / 20000))
  const some = []
  for (let at = 0; at < column.length; at += step) if (Number.isFinite(column[at])) some.push(column[at])
  some.sort((a, b) => a - b)
  state.range = some.length ? [some[Math.floor(some.length * 0.02)], some[Math.floor((some.length - 1) * 0.98)]] : [0, 1]
}

function shade (first) {
  shades(kind(), state.cells, state.shade, first, state.range)
  if (!state.hidden.size) return
  const column = state.cells.all.class
  for (let at = first; at < state.cells.count; at++) if (state.hidden.has(state.names.class[column[at]])) state.shade[at] = -1
}

function paint (first) {
  if (!scatter) return
  shade(first)
  scatter.colours(palette(kind()))
  scatter.paint(first, state.shade, state.chosen)
}

function legend () {
  const made = []
  if (kind() === 'class' || kind() === 'instrument') {
    for (const [code, name] of state.names[kind()].entries()) {
      const line = document.createElement('label')
      if (kind() === 'class') {
        const box = Object.assign(document.createElement('input'), { type: 'checkbox', checked: !state.hidden.has(name), value: name })
        box.addEventListener('change', () => {
          if (box.checked) state.hidden.delete(name); else state.hidden.add(name)
          paint(0)
          if (state.selection && !state.selection.Ids) select(state.selection)
        })
        line.append(box)
      }
      line.append(swatch(code), name || words.unclassified)
      made.push(line)
    }
  } else {
    const bar = Object.assign(document.createElement('canvas'), { width: 256, height: 1 })
    const drawn = bar.getContext('2d')
    drawn.putImageData(new ImageData(new Uint8ClampedArray(palette(kind())), 256, 1), 0, 0)
    const end = value => {
      const told = document.createElement(kind() === 'at' ? 'time' : 'span')
      if (kind() === 'at') told.dateTime = new Date(value * 1000).toISOString(); else told.textContent = few(value)
      return told
    }
    made.push(end(state.range[0]), bar, end(state.range[1]))
  }
  $('legend').replaceChildren(...made)
  local($('legend'))
}

// --- what is selected

const gallery = new Gallery($('gallery'), $('one'), { api, say, words, similar })

function narrowed (selection) {
  const { ordered, ...told } = selection // what the gateway need not know
  if ($('model').value) told.Models = [$('model').value]
  if (told.Ids) return told
  if ($('instrument').value) told.Instruments = [$('instrument').value]
  if ($('since').value) told.Since = (Math.floor(Date.now() / 1000) - $('since').value) * 1e9
  if (state.hidden.size) told.Classes = state.names.class.filter(name => !state.hidden.has(name))
  return told
}

async function select (selection, begun = performance.now()) {
  state.selection = selection
  $('selection').hidden = !selection
  if (!selection) {
    state.chosen.fill(0)
    if (scatter) { scatter.dim = false; scatter.paint(0, state.shade, state.chosen) }
    $('count').textContent = $('gallery-said').textContent = words.none
    gallery.clear()
    gateSays()
    return
  }
  if (scatter) {
    if (selection.Polygon) state.cells.within(selection.Polygon, state.chosen)
    else {
      tools.forget()
      const ids = new Set(selection.Ids)
      const column = state.cells.column('id')
      for (let at = 0; at < column.length; at++) state.chosen[at] = ids.has(column[at]) ? 1 : 0
    }
    scatter.dim = true
    scatter.paint(0, state.shade, state.chosen)
  }
  gateSays()
  try {
    const told = await ask('POST', `${api}map/selection`, { Selection: narrowed(selection), Feature: $('feature').value, Sample: 120 })
    if (state.selection !== selection) return
    state.told = told
    figures(told)
    const ids = selection.Ids && selection.ordered ? selection.Ids.slice(0, 120) : told.Ids
    const missing = await gallery.show(ids)
    $('gallery-said').textContent = say('of-map', { shown: number.format(ids.length), count: number.format(told.Count) }) +
      (missing ? ' ' + say('missing-crops', { count: missing }) : '')
    root.dataset.took = Math.round(performance.now() - begun)
  } catch (error) { tell('failed', error.message) }
}

function figures (told) {
  $('count').textContent = say('selected', { count: number.format(told.Count) })
  const made = []
  for (const [name, count] of [...Object.entries(told.Classes), ...(Object.keys(told.Instruments).length > 1 ? Object.entries(told.Instruments) : [])]) {
    const [term, value] = [document.createElement('dt'), document.createElement('dd')]
    term.textContent = name || words.unclassified
    value.textContent = `${number.format(count)} (${(100 * count / told.Count).toFixed(1)} %)`
    made.push(term, value)
  }
  $('counts').replaceChildren(...made)
  histogram(told.Histogram)
}

function histogram (told) {
  const space = 'http://www.w3.org/2000/svg'
  const most = Math.max(1, ...(told?.Bars ?? []))
  $('bars').replaceChildren(...(told?.Bars ?? []).map((count, at) => {
    const bar = document.createElementNS(space, 'rect')
    const height = 150 * count / most
    for (const [name, value] of Object.entries({ x: at * 10 + 0.5, y: 150 - height, width: 9, height })) bar.setAttribute(name, value)
    return bar
  }))
  $('least').textContent = told?.Known ? few(told.Low) : ''
  $('most').textContent = told?.Known ? few(told.High) : ''
  $('median').textContent = told?.Known ? say('median', { median: few(told.Median) }) : ''
  $('bars').setAttribute('aria-label', `${$('feature').value}: ${$('least').textContent} – ${$('most').textContent}, ${$('median').textContent}`)
}

async function similar (id) {
  try {
    const found = await ask('GET', `${api}cells/similar?cell=${id}&k=119`)
    await select({ Ids: [id, ...found.Cells.map(one => one.Id)], ordered: true })
    tell('said', say('similar-to', { count: found.Cells.length }))
  } catch (error) { tell('failed', error.message) }
}

async function download (format) {
  try {
    const body = JSON.stringify({ Selection: narrowed(state.selection), Format: format })
    const check = document.querySelector('meta[name="cytobus-check"]').content
    const answer = await fetch(`${api}map/export`, { method: 'POST', body, headers: { 'Content-Type': 'application/json', 'X-Cytobus-Check': check } })
    if (!answer.ok) throw new Error(await answer.text())
    const link = Object.assign(document.createElement('a'), { href: URL.createObjectURL(await answer.blob()), download: `cells.${format}` })
    link.click()
    setTimeout(() => URL.revokeObjectURL(link.href), 10000)
  } catch (error) { tell('failed', error.message) }
}

// --- names and gates

const kept = lists({ api, say, words, number, show: ids => select({ Ids: ids }) })

function gateSays () {
  const there = $('gate-says')
  if (!there) return
  const selection = state.selection
  there.textContent = selection?.Polygon ? say('selected', { count: number.format(state.chosen.reduce((sum, one) => sum + one, 0)) }) : words['gate-needs']
}

$('group-form')?.addEventListener('submit', async event => {
  event.preventDefault()
  const name = event.target.elements.Name.value
  try {
    const made = await ask('POST', `${api}map/groups`, { Name: name, Selection: narrowed(state.selection) })
    tell('said', say('named', { count: number.format(made.Count), name }))
    event.target.reset()
    await kept()
  } catch (error) { tell('failed', error.message) }
})
$('gate-form')?.addEventListener('submit', async event => {
  event.preventDefault()
  const said = Object.fromEntries(new FormData(event.target))
  const rule = { Action: said.Action }
  if (state.selection?.Polygon) Object.assign(rule, { Polygon: state.selection.Polygon, Model: $('model').value })
  if (state.hidden.size) rule.Classes = state.names.class.filter(name => !state.hidden.has(name))
  const [least, most] = [said.Least, said.Most].map(one => one === '' ? null : Number(one))
  if (said.Feature) rule.Bounds = [{ Feature: said.Feature, Least: least, Most: most }]
  if (!rule.Polygon && !rule.Classes && !rule.Bounds) { tell('failed', words['gate-needs']); return }
  try {
    await ask('POST', `${api}map/gates`, { Name: said.Name, Rule: rule })
    tell('said', say('gated', { name: said.Name }))
    event.target.reset()
    await kept()
  } catch (error) { tell('failed', error.message) }
})

// --- the page

function ground () {
  const made = document.createElement('canvas').getContext('2d')
  made.fillStyle = getComputedStyle(document.documentElement).getPropertyValue('--card')
  made.fillRect(0, 0, 1, 1)
  scatter.ground = [...made.getImageData(0, 0, 1, 1).data].slice(0, 3).map(one => one / 255)
  scatter.redraw()
}

try {
  scatter = drawer($('points'), Scatter, new URLSearchParams(location.search).get('draw'))
} catch (error) {
  if (error.message !== 'WebGL 2') console.error(error)
  $('stage').hidden = $('keys').hidden = true
  $('no-webgl').hidden = false
}
if (scatter) {
  scatter.again = () => { const { x, y } = state.cells.all; if (x) scatter.put(0, state.cells.count, x, y, state.shade, state.chosen); paint(0) }
  ground()
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', ground)
  new ResizeObserver(() => scatter.redraw()).observe($('stage'))
  tools = new Tools($('stage'), $('line-drawn'), scatter, polygon => select(polygon && { Polygon: polygon }))
  $('fit').addEventListener('click', () => { scatter.fit(state.cells.extent()); tools.draw() })
  $('mode').addEventListener('change', () => { scatter.mode = $('mode').value; scatter.redraw() })
}
$('clear').addEventListener('click', () => select(undefined))
for (const id of ['model', 'instrument', 'since', 'colour']) {
  $(id).addEventListener('change', () => {
    if (id === 'model') delete root.dataset.looked
    if (id === 'colour' && plain() && state.begun) { scale(); paint(0); legend(); return }
    follow()
  })
}
$('feature').addEventListener('change', () => state.selection && select(state.selection))
$('csv').addEventListener('click', () => download('csv'))
$('parquet').addEventListener('click', () => download('parquet'))
about().then(() => { kept(); follow() }, error => { shown('away'); tell('failed', error.message); setTimeout(() => location.reload(), 5000) })
setInterval(() => { about().catch(() => {}); kept(false) }, 10000)
