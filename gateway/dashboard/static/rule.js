// Rules (JSONLogic) as a tree of groups and conditions, and back: pure functions.
export const FIELDS = {
  name: 'InputFile.Name',
  extension: 'InputFile.Extension',
  attribute: 'InputFile.Attributes.',
  size: 'InputFile.Size',
  lab: 'InputFile.Attributes.LabName',
  equipment: 'InputFile.Attributes.LabEquipment',
  operator: 'InputFile.Attributes.Operator',
  hostname: 'InputFile.Hostname',
  folder: 'InputFile.DirName',
  other: ''
}
export const NAMED = { attribute: 'which', other: 'path' } // fields that are named by a second word
export const HOW = ['contains', 'matches', 'starts_with', 'ends_with', '==', '!=', '>', '>=', '<', '<=', 'in']
const COMPARED = ['>', '>=', '<', '<=']

const listed = value => Array.isArray(value) ? value : [value]

// What a rule means, however it is written: arguments in a list, no group of one.
function plain (rule) {
  if (Array.isArray(rule)) return rule.map(plain)
  if (rule === null || typeof rule !== 'object') return rule
  const [operator, said] = Object.entries(rule)[0] || []
  const made = listed(said).map(plain)
  return ['and', 'or'].includes(operator) && made.length === 1 ? made[0] : { [operator]: made }
}
const same = (one, other) => JSON.stringify(plain(one)) === JSON.stringify(plain(other))

export const group = (join = 'and', parts = [], not = false) => ({ join, parts, not })
export const condition = () => ({ field: 'name', which: '', how: 'contains', value: '', kind: 'string', not: false })

// The rule of a node; nothing for a group of nothing.
export function write (node) {
  const made = node.parts ? joined(node) : compared(node)
  return made !== undefined && node.not ? { '!': [made] } : made
}

function joined ({ join, parts }) {
  const rules = parts.map(write).filter(one => one !== undefined)
  return rules.length > 1 ? { [join]: rules } : rules[0]
}

function compared ({ field, which, how, value, kind }) {
  const place = { var: FIELDS[field] + (NAMED[field] ? which : '') }
  if (how === 'contains') return { in: [value, place] }
  const typed = one => kind === 'number' || field === 'size' || COMPARED.includes(how) ? number(one) : one
  return { [how]: [place, how === 'in' ? value.split(',').map(one => typed(one.trim())) : typed(value)] }
}
const number = text => text.trim() !== '' && !isNaN(text) ? Number(text) : text

// The other way round: a group, or nothing for a rule that no tree of these says in full.
export function read (rule) {
  const found = taken(rule)
  if (!found || !same(write(found), rule)) return
  return found.parts && !found.not ? found : group('and', [found])
}

function taken (rule) {
  if (rule === null || typeof rule !== 'object' || Array.isArray(rule)) return
  const entries = Object.entries(rule)
  if (entries.length !== 1) return
  const [operator, said] = entries[0]
  if (operator === '!') {
    const inner = taken(listed(said)[0])
    return inner && { ...inner, not: !inner.not }
  }
  if (operator !== 'and' && operator !== 'or') return comparison(operator, said)
  const parts = listed(said).map(taken)
  return parts.every(Boolean) ? group(operator, parts) : undefined
}

function comparison (how, said) {
  if (!Array.isArray(said) || said.length !== 2) return
  let [one, other] = said
  if (how === 'in' && typeof one === 'string') { [one, other] = [other, one]; how = 'contains' }
  const path = typeof one?.var === 'string' ? one.var : Array.isArray(one?.var) && one.var.length === 1 ? one.var[0] : undefined
  if (!HOW.includes(how) || !path || typeof path !== 'string' || (how === 'in') !== Array.isArray(other)) return
  const kinds = new Set(listed(other).map(each => typeof each))
  const [kind] = kinds
  if (kinds.size !== 1 || !['string', 'number'].includes(kind)) return
  return { ...place(path), how, value: listed(other).join(', '), kind, not: false }
}

function place (path) {
  const field = Object.keys(FIELDS).find(key => !NAMED[key] && FIELDS[key] === path)
  if (field) return { field, which: '' }
  const attribute = FIELDS.attribute
  if (path.startsWith(attribute) && path !== attribute) return { field: 'attribute', which: path.slice(attribute.length) }
  return { field: 'other', which: path }
}
