// The list of tasks: dragged into another order, and deleted by whoever knows what hangs on them.
import { ask, refresh, tell } from './cytobus.js'

const path = '/gateway/task-launcher/api/v1/task'

async function remove (button) {
  const said = button.dataset
  try {
    const { Running, Waiting, More } = await ask('GET', `${said.delete}/waiting`)
    const more = [Running && said.running.replace('#', Running), Waiting && said.waiting.replace('#', Waiting), More && said.more]
    if (!confirm([said.sure, ...more].filter(Boolean).join('\n'))) return
    await ask('DELETE', said.delete)
    tell('said', button.textContent.trim() + ' ✓')
    await refresh()
  } catch (error) { tell('failed', error.message) }
}

document.addEventListener('click', event => {
  const button = event.target.closest('button[data-delete]')
  if (button) remove(button)
})

let held
const row = event => event.target.closest?.('#tasks tr[draggable]')
const marked = over => { for (const one of document.querySelectorAll('#tasks tr.over')) one.classList.toggle('over', one === over); over?.classList.add('over') }

document.addEventListener('dragstart', event => {
  held = row(event)
  if (!held) return
  event.dataTransfer.effectAllowed = 'move'
  event.dataTransfer.setData('text/plain', held.dataset.id)
  held.classList.add('held')
})
document.addEventListener('dragover', event => {
  const over = row(event)
  if (!held || !over) return
  event.preventDefault()
  marked(over)
})
document.addEventListener('dragend', () => { held?.classList.remove('held'); marked(undefined); held = undefined })
document.addEventListener('drop', async event => {
  const over = row(event)
  if (!held || !over || over === held) return
  event.preventDefault()
  const order = [...over.parentElement.children].indexOf(over) + 1
  try {
    await ask('PUT', `${path}/${encodeURIComponent(held.dataset.id)}/order`, { Order: order })
    await refresh()
  } catch (error) { tell('failed', error.message) }
})
