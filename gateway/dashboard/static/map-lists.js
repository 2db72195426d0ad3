// The groups that have names, and the gates: listed, shown, deleted.
import { ask, check, tell } from './cytobus.js'

export function lists ({ api, say, words, number, show }) {
  const may = Boolean(document.getElementById('gate-form'))

  function button (text, name, act, look = '') {
    const made = Object.assign(document.createElement('button'), { type: 'button', textContent: text, className: look })
    made.setAttribute('aria-label', `${text} ${name}`)
    made.addEventListener('click', () => Promise.resolve(act()).catch(error => tell('failed', error.message)))
    return made
  }

  const dropped = (kind, one) => button(words.delete, one.Name, async () => {
    if (!confirm(words.sure.replace('{name}', one.Name))) return
    await ask('DELETE', `${api}map/${kind}/${one.Id}`)
    tell('said', words.deleted)
    await renew()
  }, 'grave')

  async function shown (group) {
    const answer = await fetch(`${api}map/groups/${group.Id}`, { headers: { 'X-Cytobus-Check': check } })
    const text = await answer.text()
    if (!answer.ok) throw new Error(text.trim())
    // The label comes first and may hold anything, in quotes; the id follows it.
    await show([...text.matchAll(/^(?:"(?:[^"]|"")*"|[^",\n]*),(\d+),/gm)].map(found => Number(found[1])))
  }

  function line (list, one, told, parts) {
    const name = document.createElement('b'), about = document.createElement('span'), made = document.createElement('li')
    name.textContent = one.Name
    about.textContent = told
    about.className = 'quiet'
    made.append(name, ...parts, about)
    return made
  }

  function put (list, lines, now) {
    if (!now && list.contains(document.activeElement)) return // whoever is at one of its buttons is not disturbed
    const none = Object.assign(document.createElement('li'), { className: 'quiet', textContent: list.dataset.none })
    list.replaceChildren(...lines.length ? lines : [none])
  }

  // `now`: also where somebody is at a button of the list.
  async function renew (now = true) {
    try {
      const [groups, gates] = await Promise.all(['groups', 'gates'].map(kind => ask('GET', `${api}map/${kind}`)))
      const [first, second] = [document.getElementById('groups'), document.getElementById('gates')]
      put(first, groups.map(one => {
        const table = Object.assign(document.createElement('a'), { className: 'button', href: `${api}map/groups/${one.Id}`, download: 'cells.csv', textContent: words.table })
        table.setAttribute('aria-label', `${words.table} ${one.Name}`)
        return line(first, one, say('group-line', { count: number.format(one.Count), by: one.By }), [button(words.show, one.Name, () => shown(one)), table, ...may ? [dropped('groups', one)] : []])
      }), now)
      put(second, gates.map(one => line(second, one, say('gate-line', {
        action: words[one.Rule.Action], accepted: number.format(one.Accepted), rejected: number.format(one.Rejected), microseconds: number.format(one.Microseconds)
      }), may ? [dropped('gates', one)] : [])), now)
    } catch (error) { tell('failed', error.message) }
  }
  return renew
}
