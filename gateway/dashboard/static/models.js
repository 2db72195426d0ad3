// Sends a model's package as it lies on the disk; the gateway says what is wrong with it.
import { ask, refresh, tell } from './cytobus.js'

const form = document.getElementById('model-form')
form?.addEventListener('submit', async event => {
  event.preventDefault()
  const button = form.querySelector('button')
  button.disabled = true
  try {
    const content = new Blob([form.elements.package.files[0]], { type: 'application/zip' })
    await ask('POST', '/gateway/task-launcher/api/v1/models', content)
    form.reset()
    tell('said', form.dataset.done)
    await refresh()
  } catch (error) {
    tell('failed', error.message)
  }
  button.disabled = false
})
