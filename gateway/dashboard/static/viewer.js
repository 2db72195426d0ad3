// Looks at images of any size: fetches the tiles that are seen, on the level that fits.
const SIZE = 256

class Layer {
  constructor (base, place, labels) { Object.assign(this, { base, place, labels, look: '', tiles: new Map() }) }

  url (level, x, y) {
    return `${this.base}/${this.place}/tiles?level=${level}&x=${x}&y=${y}&size=${SIZE}${this.labels ? '&labels=true' : this.look}`
  }

  clear () { for (const tile of this.tiles.values()) tile.remove(); this.tiles.clear() }
}

// One image in its place on the page. What is seen of it is told to it in pixels of the first pane's image.
class Pane {
  constructor (viewer, root) {
    Object.assign(this, { viewer, root, sheet: root.querySelector('.sheet'), told: root.querySelector('.told') })
  }

  async open (place, labels) {
    this.sheet.replaceChildren()
    this.about = this.over = undefined
    const answer = await fetch(`${this.viewer.base}/${place}`)
    if (!answer.ok) { this.told.textContent = `${this.viewer.root.dataset.failed} ${await answer.text()}`; return }
    this.image = new Layer(this.viewer.base, place, labels)
    this.about = await answer.json()
  }

  // The second image stands for the same field of view, however many pixels it has.
  draw ({ scale, x, y }, first, opacity) {
    if (!this.about) return
    const own = scale * first.Width / this.about.Width
    const level = Math.min(this.about.Levels - 1, Math.max(0, Math.floor(Math.log2(1 / own / devicePixelRatio) + 0.01)))
    const shown = this.even(SIZE * 2 ** level * devicePixelRatio, { scale: own, x, y })
    this.view = { ...shown, opacity }
    this.sheet.style.transform = `translate(${shown.x}px, ${shown.y}px) scale(${shown.scale})`
    this.sheet.classList.toggle('near', own >= 2)
    this.tiles(this.image, level, 0)
    if (this.over) this.tiles(this.over, level, 1)
    this.told.textContent = `${this.about.Width} × ${this.about.Height} · ${this.about.Type} · ${(own * 100).toPrecision(3)} %`
  }

  // The view, moved so little that tiles of this side end where pixels of the screen do: between them no line is seen.
  even (side, { scale, x, y }) {
    const next = Math.max(1, Math.round(side * scale)) / side
    const [cx, cy] = [this.root.clientWidth / 2, this.root.clientHeight / 2]
    const whole = length => Math.round(length * devicePixelRatio) / devicePixelRatio
    return { scale: next, x: whole(cx - (cx - x) * next / scale), y: whole(cy - (cy - y) * next / scale) }
  }

  tiles (layer, level, height) {
    const { scale, x, y } = this.view
    const side = SIZE * 2 ** level
    const last = [Math.ceil(this.about.Width / side), Math.ceil(this.about.Height / side)]
    const seen = [-x / scale, -y / scale, (this.root.clientWidth - x) / scale, (this.root.clientHeight - y) / scale]
    const wanted = new Set()
    for (let row = Math.max(0, Math.floor(seen[1] / side)); row < Math.min(last[1], Math.ceil(seen[3] / side)); row++) {
      for (let column = Math.max(0, Math.floor(seen[0] / side)); column < Math.min(last[0], Math.ceil(seen[2] / side)); column++) {
        const key = `${level}/${column}/${row}`
        wanted.add(key)
        if (!layer.tiles.has(key)) layer.tiles.set(key, this.tile(layer, level, column, row, height))
      }
    }
    const all = [...wanted].every(key => layer.tiles.get(key).complete)
    for (const [key, tile] of layer.tiles) {
      // Others stay below until what is wanted has come; what has not come and is not wanted is not waited for.
      if (!wanted.has(key) && (all || !tile.complete)) { tile.src = ''; tile.remove(); layer.tiles.delete(key) }
    }
  }

  tile (layer, level, column, row, height) {
    const side = SIZE * 2 ** level
    const tile = new Image()
    tile.alt = ''
    tile.draggable = false
    tile.onload = () => this.viewer.draw()
    Object.assign(tile.style, {
      left: `${column * side}px`,
      top: `${row * side}px`,
      width: `${Math.min(side, Math.ceil(this.about.Width / 2 ** level) * 2 ** level - column * side)}px`,
      height: `${Math.min(side, Math.ceil(this.about.Height / 2 ** level) * 2 ** level - row * side)}px`,
      zIndex: height * 100 + 50 - level,
      opacity: height ? this.view.opacity : 1
    })
    tile.src = layer.url(level, column, row)
    this.sheet.append(tile)
    return tile
  }
}

class Viewer {
  constructor (root) {
    this.root = root
    this.base = root.dataset.viewer
    this.main = new Pane(this, root.querySelector('.pane'))
    this.view = { scale: 1, x: 0, y: 0 }
    this.tool = name => root.querySelector(`[data-tool="${name}"]`)
    this.listen()
    this.open()
  }

  async open () {
    const chosen = this.tool('place').selectedOptions[0]
    const main = this.main
    await main.open(chosen.value, chosen.dataset.labels === 'true')
    if (!main.about) return
    this.channels()
    this.tool('low').value = +main.about.Low.toPrecision(5)
    this.tool('high').value = +main.about.High.toPrecision(5)
    this.contrast()
    this.lay()
    this.fit()
  }

  async openBeside () {
    const chosen = this.tool('beside').selectedOptions[0]
    const panes = this.main.root.parentElement
    this.beside?.root.remove()
    this.beside = undefined
    panes.classList.toggle('two', Boolean(chosen.value))
    if (chosen.value) {
      const root = this.main.root.cloneNode(true)
      root.setAttribute('aria-label', panes.dataset.label)
      panes.append(root)
      const beside = this.beside = new Pane(this, root)
      this.move(root)
      await beside.open(chosen.value, chosen.dataset.labels === 'true')
    }
    this.fit()
  }

  channels () {
    const select = this.tool('channel')
    select.replaceChildren(...Array.from({ length: this.main.about.Channels }, (_, n) => new Option(`${n + 1}`, n)))
    select.closest('label').hidden = this.main.about.Channels < 2
  }

  contrast () {
    const look = `&low=${this.tool('low').valueAsNumber || 0}&high=${this.tool('high').valueAsNumber || 0}`
    const { about, image } = this.main
    image.look = `${about.Colour ? '' : look}&channel=${this.tool('channel').value || 0}`
    image.clear()
  }

  lay () {
    const main = this.main
    main.over?.clear()
    const place = this.tool('overlay')?.value
    main.over = place && place !== main.image.place ? new Layer(this.base, place, true) : undefined
    this.draw()
  }

  fit () {
    const { about, root } = this.main
    if (!about) return
    const { clientWidth: w, clientHeight: h } = root
    const scale = Math.min(w / about.Width, h / about.Height)
    this.view = { scale, x: (w - about.Width * scale) / 2, y: (h - about.Height * scale) / 2 }
    this.draw()
  }

  zoom (factor, at = [this.main.root.clientWidth / 2, this.main.root.clientHeight / 2]) {
    const scale = Math.min(32, Math.max(1 / 256, this.view.scale * factor))
    const by = scale / this.view.scale
    this.view = { scale, x: at[0] - (at[0] - this.view.x) * by, y: at[1] - (at[1] - this.view.y) * by }
    this.draw()
  }

  pan (dx, dy) { this.view.x += dx; this.view.y += dy; this.draw() }

  draw () {
    if (!this.main.about || this.waiting) return
    this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.drawn() })
  }

  drawn () {
    const { about } = this.main
    if (!about) return
    this.main.draw(this.view, about, this.tool('opacity')?.value)
    this.beside?.draw(this.view, about, 1)
  }

  listen () {
    const on = (name, event, act) => this.tool(name)?.addEventListener(event, act)
    on('place', 'change', () => this.open())
    on('beside', 'change', () => this.openBeside())
    on('overlay', 'change', () => this.lay())
    on('opacity', 'input', () => { for (const tile of this.main.over?.tiles.values() || []) tile.style.opacity = this.tool('opacity').value })
    for (const name of ['low', 'high', 'channel']) on(name, 'change', () => { this.contrast(); this.draw() })
    on('in', 'click', () => this.zoom(1.5))
    on('out', 'click', () => this.zoom(1 / 1.5))
    on('fit', 'click', () => this.fit())
    on('one', 'click', () => this.zoom(1 / this.view.scale))
    this.move(this.main.root)
  }

  move (pane) {
    const keys = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] }
    pane.addEventListener('keydown', event => {
      if (event.ctrlKey || event.metaKey || event.altKey) return
      if (keys[event.key]) this.pan(...keys[event.key])
      else if (event.key === '+' || event.key === '=') this.zoom(1.5)
      else if (event.key === '-') this.zoom(1 / 1.5)
      else if (event.key === '0') this.fit()
      else if (event.key === '1') this.zoom(1 / this.view.scale)
      else return
      event.preventDefault()
    })
    pane.addEventListener('wheel', event => {
      event.preventDefault()
      const box = pane.getBoundingClientRect()
      this.zoom(event.deltaY < 0 ? 1.25 : 0.8, [event.clientX - box.left, event.clientY - box.top])
    }, { passive: false })
    this.drag(pane)
    new ResizeObserver(() => this.draw()).observe(pane)
  }

  drag (pane) {
    const held = new Map()
    pane.addEventListener('pointerdown', event => { pane.setPointerCapture(event.pointerId); held.set(event.pointerId, event) })
    for (const end of ['pointerup', 'pointercancel']) pane.addEventListener(end, event => held.delete(event.pointerId))
    pane.addEventListener('pointermove', event => {
      const before = held.get(event.pointerId)
      if (!before) return
      const other = [...held.values()].find(one => one.pointerId !== event.pointerId)
      if (other) {
        const apart = one => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)
        this.zoom(apart(event) / Math.max(1, apart(before)))
      } else this.pan(event.clientX - before.clientX, event.clientY - before.clientY)
      held.set(event.pointerId, event)
    })
  }
}

const started = new WeakSet()
function start () {
  for (const root of document.querySelectorAll('[data-viewer]')) {
    if (!started.has(root)) { started.add(root); root.viewer = new Viewer(root) }
  }
}
start()
document.addEventListener('refreshed', start)
