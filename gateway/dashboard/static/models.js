// Sends a model's package as it lies on the disk; the gateway says what is wrong with it.
import { refresh, tell } from './cytobus.js'

const form = document.getElementById('model-form')
form?.addEventListener('submit', async event => {
  event.preventDefault()
  const button = form.querySelector('button')
  button.disabled = true
  try {
    const check = document.querySelector('meta[name="cytobus-check"]').content
    const headers = { 'X-Cytobus-Check': check, 'Content-Type': 'application/zip' }
    const body = form.elements.package.files[0]
    const answer = await fetch('/gateway/task-launcher/api/v1/models', { method: 'POST', headers, body })
    if (!answer.ok) throw new Error((await answer.text()).trim() || `${answer.status}`)
    form.reset()
    tell('said', form.dataset.done)
    await refresh()
  } catch (error) {
    tell('failed', error instanceof TypeError ? document.getElementById('line').dataset.lost : error.message)
  }
  button.disabled = false
})
