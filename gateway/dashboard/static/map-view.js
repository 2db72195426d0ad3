// Where one looks on the map, and when it is drawn anew; how, say those who draw.
const MANY = 300000 // beyond so many, points alone would only hide each other

export class View {
  constructor (canvas) {
    this.canvas = canvas
    this.count = this.frames = 0
    this.view = { x: 0, y: 0, scale: 1 } // the middle, and pixels of the screen (CSS) for one unit of the map
    this.mode = 'auto'
    this.dim = false // what is not chosen stands back
    this.ground = [0, 0, 0]
    this.dirty = false
  }

  redraw () {
    if (this.dirty) return
    this.dirty = true
    requestAnimationFrame(() => {
      this.dirty = false
      const begun = performance.now()
      this.draw()
      this.canvas.dataset.took = performance.now() - begun // ms
      this.canvas.dataset.frames = ++this.frames
    })
  }

  get dense () { return this.mode === 'density' || (this.mode === 'auto' && this.count > MANY) }

  get zoom () { return this.fitted ? this.view.scale / this.fitted : 1 }

  // Pixels (CSS) of a point.
  get size () { return Math.min(9, Math.max(2, 420 / Math.sqrt(this.count + 1) * (1 + Math.log2(1 + this.zoom) / 4))) }

  fit ([[left, right], [low, high]]) {
    const { clientWidth: width, clientHeight: height } = this.canvas
    const wide = Math.max(right - left, 1e-6), tall = Math.max(high - low, 1e-6)
    this.fitted = 0.92 * Math.min(width / wide, height / tall)
    this.view = { x: (left + right) / 2, y: (low + high) / 2, scale: this.fitted }
    this.redraw()
  }

  // From pixels (CSS, from the canvas's corner) to the map, and back.
  there ([left, top]) {
    const { x, y, scale } = this.view
    return [x + (left - this.canvas.clientWidth / 2) / scale, y - (top - this.canvas.clientHeight / 2) / scale]
  }

  here ([x, y]) {
    const { scale } = this.view
    return [(x - this.view.x) * scale + this.canvas.clientWidth / 2, (this.view.y - y) * scale + this.canvas.clientHeight / 2]
  }

  move (right, down) {
    this.view.x -= right / this.view.scale
    this.view.y += down / this.view.scale
    this.redraw()
  }

  // Nearer by a factor; the place under a point of the screen stays under it.
  nearer (factor, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const before = this.there(at)
    this.view.scale = Math.min(1e7, Math.max(1e-7, this.view.scale * factor))
    const after = this.there(at)
    this.view.x += before[0] - after[0]
    this.view.y += before[1] - after[1]
    this.redraw()
  }
}
