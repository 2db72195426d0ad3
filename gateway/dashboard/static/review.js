// Judges many results at once: those that are ticked, or all that the filters leave, as they were counted.
import { ask, tell } from './cytobus.js'

const review = body => ask('POST', '/gateway/job-repository/api/v1/jobs/review', body)

// The images of these, as their reviewers have them now: among the rejects, or not. What could not be done.
async function images (verdicts) {
  const ids = verdicts.filter(one => !one.Error).map(one => one.Id)
  return ids.length ? (await ask('POST', '/gateway/file-sender-gateway/api/v1/rejects', { Ids: ids })).Troubles : []
}

async function judged (button, body) {
  let after, done = 0
  const troubles = []
  do {
    const told = await review(after === undefined ? body : { ...body, After: after })
    troubles.push(...told.Verdicts.filter(one => one.Error), ...await images(told.Verdicts))
    done += told.Changed
    after = told.After ?? undefined
    if (button.dataset.progress) tell('said', button.dataset.progress.replace('#', done))
  } while (after !== undefined)
  if (troubles.length) throw new Error(`${troubles.length}: ${troubles[0].Error}`)
}

async function pressed (button) {
  const said = button.dataset
  const body = { Verification: Number(said.judge) }
  const comment = document.getElementById('comment')?.value
  if (comment) body.Reason = comment
  if (said.filter) {
    Object.assign(body, JSON.parse(said.filter))
    const { Count, Through } = await review({ ...body, DryRun: true })
    if (!confirm(said.count.replace('#', Count))) return
    body.Through = Through
  } else {
    body.Ids = [...document.querySelectorAll(said.of)].map(box => box.value)
    if (!body.Ids.length || said.sure && !confirm(said.sure)) return
  }
  await judged(button, body)
  location.href = said.then
}

document.addEventListener('click', async event => {
  const button = event.target.closest('button[data-judge]')
  if (!button) return
  button.disabled = true
  try { await pressed(button) } catch (error) { tell('failed', error.message) }
  button.disabled = false
})
