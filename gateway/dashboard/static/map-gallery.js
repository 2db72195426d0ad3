// Pictures of cells, all cut from one sheet; one of them can be looked at more closely.
import { ask } from './cytobus.js'

const SIDE = 64, ACROSS = 16 // of a sheet

export class Gallery {
  constructor (list, one, { api, say, words, similar }) {
    Object.assign(this, { list, one, api, say, words, similar })
    list.addEventListener('click', event => {
      const button = event.target.closest('button')
      if (button) this.look(button)
    })
    list.addEventListener('keydown', event => this.step(event))
  }

  clear () {
    this.shown = undefined
    this.list.replaceChildren()
    this.one.hidden = true
  }

  // Shows these; how many of them have no picture.
  async show (ids) {
    const wanted = this.shown = ids
    this.one.hidden = true
    if (!ids.length) { this.list.replaceChildren(); return 0 }
    const answer = await fetch(`${this.api}map/crops?ids=${ids.join(',')}`)
    if (!answer.ok) throw new Error((await answer.text()).trim())
    const sheet = await createImageBitmap(await answer.blob())
    if (this.shown !== wanted) return 0
    this.list.replaceChildren(...ids.map((id, at) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: SIDE, height: SIDE })
      canvas.getContext('2d').drawImage(sheet, SIDE * (at % ACROSS), SIDE * Math.floor(at / ACROSS), SIDE, SIDE, 0, 0, SIDE, SIDE)
      const button = Object.assign(document.createElement('button'), { type: 'button', tabIndex: at ? -1 : 0 })
      button.dataset.id = id
      button.setAttribute('aria-label', this.say('gallery-cell', { id }))
      button.setAttribute('aria-pressed', 'false')
      button.append(canvas)
      const line = document.createElement('li')
      line.append(button)
      return line
    }))
    sheet.close()
    return Number(answer.headers.get('X-Missing') ?? 0)
  }

  // Arrows go through the pictures, so that one stop of the tabulator is enough for all.
  step (event) {
    const buttons = [...this.list.querySelectorAll('button')]
    const at = buttons.indexOf(document.activeElement)
    const row = buttons.filter(one => one.offsetTop === buttons[0]?.offsetTop).length || 1
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: row, ArrowUp: -row, Home: -at, End: buttons.length - 1 - at }
    if (at < 0 || !(event.key in steps)) return
    event.preventDefault()
    const next = buttons[Math.min(buttons.length - 1, Math.max(0, at + steps[event.key]))]
    for (const one of buttons) one.tabIndex = one === next ? 0 : -1
    next.focus()
  }

  async look (button) {
    for (const one of this.list.querySelectorAll('button')) one.setAttribute('aria-pressed', String(one === button))
    const id = Number(button.dataset.id)
    try {
      const cell = await ask('GET', `${this.api}cells/${id}`)
      const link = Object.assign(document.createElement('a'), { href: `/jobs/${encodeURIComponent(cell.Job)}`, textContent: this.words.job })
      const others = Object.assign(document.createElement('button'), { type: 'button', textContent: this.words.others })
      others.addEventListener('click', () => this.similar(id))
      const told = document.createElement('span')
      told.textContent = `${cell.Class || this.words.unclassified} · ${this.say('gallery-cell', { id: cell.Number })} · ${cell.Instrument}`
      this.one.replaceChildren(told, link, others)
    } catch (error) { this.one.textContent = error.message }
    this.one.hidden = false
  }
}
