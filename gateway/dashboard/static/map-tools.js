// What a pointer and keys do on the map: move it, come nearer, draw a line around cells.
const FAR = 4 // pixels that a pointer goes before another corner is put
const MOST = 400 // corners

export class Tools {
  constructor (stage, sheet, scatter, done) {
    Object.assign(this, { stage, sheet, scatter, done, corners: [], tool: 'pan', pointers: new Map() })
    for (const button of document.querySelectorAll('[data-tool]')) {
      if (button !== stage) button.addEventListener('click', () => this.choose(button.dataset.tool))
    }
    for (const name of ['down', 'move', 'up', 'cancel']) stage.addEventListener(`pointer${name}`, event => this[name](event))
    stage.addEventListener('wheel', event => {
      event.preventDefault()
      this.nearer(Math.exp(-event.deltaY / (event.deltaMode ? 20 : 400)), this.at(event))
    }, { passive: false })
    stage.addEventListener('keydown', event => this.key(event))
    for (const [id, factor] of [['nearer', 1.4], ['farther', 1 / 1.4]]) document.getElementById(id).addEventListener('click', () => this.nearer(factor))
    document.getElementById('in-view').addEventListener('click', () => this.select(this.frame()))
    document.getElementById('clear').addEventListener('click', () => this.forget())
    new ResizeObserver(() => this.draw()).observe(stage)
  }

  choose (tool) {
    this.tool = this.stage.dataset.tool = tool
    for (const button of document.querySelectorAll('button[data-tool]')) button.setAttribute('aria-pressed', String(button.dataset.tool === tool))
  }

  at (event) {
    const { left, top } = this.stage.getBoundingClientRect()
    return [event.clientX - left - this.stage.clientLeft, event.clientY - top - this.stage.clientTop]
  }

  // The corners of what is seen, on the map.
  frame () {
    const { clientWidth: width, clientHeight: height } = this.stage
    return [[0, 0], [width, 0], [width, height], [0, height]].map(one => this.scatter.there(one))
  }

  nearer (factor, at) { this.scatter.nearer(factor, at); this.draw() }

  down (event) {
    if (event.button) return
    this.stage.setPointerCapture(event.pointerId)
    this.stage.focus({ preventScroll: true })
    const at = this.at(event)
    this.pointers.set(event.pointerId, at)
    this.drawing = this.tool !== 'pan' && this.pointers.size === 1 && !event.shiftKey
    if (this.drawing) this.corners = [this.scatter.there(at)]
    this.begun = at
  }

  move (event) {
    const before = this.pointers.get(event.pointerId)
    if (!before) return
    const at = this.at(event)
    if (this.pointers.size === 2) this.pinch(event.pointerId, before, at)
    else if (!this.drawing) this.scatter.move(at[0] - before[0], at[1] - before[1])
    else if (this.tool === 'box') {
      const [a, b] = [this.begun, at]
      this.corners = [a, [b[0], a[1]], b, [a[0], b[1]]].map(one => this.scatter.there(one))
    } else {
      const last = this.scatter.here(this.corners.at(-1))
      if (Math.hypot(at[0] - last[0], at[1] - last[1]) < FAR) return
      this.corners.push(this.scatter.there(at))
    }
    this.pointers.set(event.pointerId, at)
    this.draw()
  }

  pinch (id, before, at) {
    this.drawing = false
    const other = [...this.pointers].find(([one]) => one !== id)[1]
    const length = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1])
    this.scatter.nearer(length(at, other) / Math.max(1, length(before, other)), [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2])
  }

  up (event) {
    if (!this.pointers.delete(event.pointerId) || !this.drawing) return
    this.drawing = false
    if (this.corners.length < 3) { this.corners = []; this.draw(); return }
    const step = Math.ceil(this.corners.length / MOST)
    this.select(this.corners.filter((_, at) => at % step === 0))
  }

  cancel (event) {
    this.pointers.delete(event.pointerId)
    this.drawing = false
    this.corners = []
    this.draw()
  }

  select (corners) {
    this.corners = corners
    this.draw()
    this.done(corners)
  }

  // The line is no longer what is selected.
  forget () { this.corners = []; this.draw() }

  key (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const step = 60
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }
    if (event.key in moves) this.scatter.move(...moves[event.key])
    else if (event.key === '+' || event.key === '=') this.scatter.nearer(1.25)
    else if (event.key === '-') this.scatter.nearer(0.8)
    else if (event.key === '0') document.getElementById('fit').click()
    else if (event.key === 'Enter') this.select(this.frame())
    else if (event.key === 'Escape') { this.corners = []; this.done(undefined) }
    else return
    event.preventDefault()
    this.draw()
  }

  draw () {
    if (this.corners.length < 2 && !this.drawn) return
    this.drawn = this.corners.length >= 2
    const ratio = devicePixelRatio
    const { clientWidth: width, clientHeight: height } = this.stage
    this.sheet.width = width * ratio
    this.sheet.height = height * ratio
    const drawn = this.sheet.getContext('2d')
    if (!this.drawn) return
    const accent = getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()
    drawn.scale(ratio, ratio)
    drawn.beginPath()
    for (const corner of this.corners) drawn.lineTo(...this.scatter.here(corner))
    drawn.closePath()
    Object.assign(drawn, { strokeStyle: accent, fillStyle: accent, lineWidth: 2, globalAlpha: 0.1 })
    drawn.fill()
    drawn.globalAlpha = 1
    drawn.stroke()
  }
}
