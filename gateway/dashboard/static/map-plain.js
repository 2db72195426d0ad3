// Draws the same without a graphics card: pixel by pixel into an image, which is many times faster than WebGL by the
// processor (a hundred thousand points take some milliseconds).
import { View } from './map-view.js'

export class Plain extends View {
  constructor (canvas) {
    super(canvas)
    this.drawn = canvas.getContext('2d', { alpha: false })
    this.bytes = new Uint8Array(1024)
  }

  put (first, count, x, y, shade, chosen) {
    Object.assign(this, { count, x, y, shade, chosen })
    this.redraw()
  }

  paint (first, shade, chosen) {
    Object.assign(this, { shade, chosen })
    this.redraw()
  }

  colours (bytes) { this.bytes = bytes; this.redraw() }

  // 256 colours as one number each, so much of them (0…1) over the ground.
  mixed (part) {
    const made = new Uint32Array(256)
    for (let at = 0; at < 256; at++) {
      const [r, g, b] = this.ground.map((one, channel) => Math.round(255 * one * (1 - part) + this.bytes[4 * at + channel] * part))
      made[at] = 0xff000000 | b << 16 | g << 8 | r
    }
    return made
  }

  draw () {
    const { clientWidth: width, clientHeight: height } = this.canvas
    if (!width) return
    if (this.canvas.width !== width || this.canvas.height !== height || !this.image) {
      Object.assign(this.canvas, { width, height })
      this.image = new ImageData(width, height)
      this.pixels = new Uint32Array(this.image.data.buffer)
    }
    const [r, g, b] = this.ground.map(one => Math.round(255 * one))
    this.pixels.fill(0xff000000 | b << 16 | g << 8 | r)
    if (this.dense) this.heap(width, height)
    else {
      if (this.dim) this.dots(width, height, this.mixed(0.2), 0)
      this.dots(width, height, this.mixed(0.9), this.dim ? 1 : undefined)
    }
    this.drawn.putImageData(this.image, 0, 0)
  }

  // Points of one kind (chosen 0 or 1; none: all), each as a disc.
  dots (width, height, colours, kind) {
    const { x, y, shade, chosen, pixels, count } = this
    const size = Math.round(this.size) + (kind ? 2 : 0)
    const disc = []
    for (let at = 0; at < size * size; at++) {
      const [across, down] = [at % size, Math.floor(at / size)]
      if (size < 4 || Math.hypot(across - (size - 1) / 2, down - (size - 1) / 2) < size / 2) disc.push(across + down * width)
    }
    const around = Int32Array.from(disc), scale = this.view.scale
    const left = width / 2 - this.view.x * scale - size / 2, top = height / 2 + this.view.y * scale - size / 2
    const [right, bottom] = [width - size, height - size]
    for (let at = 0; at < count; at++) {
      const here = x[at] * scale + left, down = top - y[at] * scale
      if (!(here >= 0 && here < right && down >= 0 && down < bottom) || shade[at] < 0 || (kind !== undefined && chosen[at] !== kind)) continue
      const first = Math.trunc(down) * width + Math.trunc(here), colour = colours[shade[at] * 255 + 0.5 | 0]
      for (let one = 0; one < around.length; one++) pixels[first + around[one]] = colour
    }
  }

  // How many lie in each pixel, as how much of the colour of the last.
  heap (width, height) {
    const { x, y, shade, chosen, pixels, count, dim } = this
    const many = new Float32Array(width * height), last = new Uint8Array(width * height)
    const scale = this.view.scale, left = width / 2 - this.view.x * scale, top = height / 2 + this.view.y * scale
    let most = 0
    for (let at = 0; at < count; at++) {
      const here = x[at] * scale + left, down = top - y[at] * scale
      if (!(here >= 0 && here < width && down >= 0 && down < height) || shade[at] < 0) continue
      const place = Math.trunc(down) * width + Math.trunc(here)
      many[place] += dim && !chosen[at] ? 0.1 : 1
      last[place] = shade[at] * 255 + 0.5
      if (many[place] > most) most = many[place]
    }
    const steps = Array.from({ length: 16 }, (_, step) => this.mixed(0.25 + 0.75 * step / 15)), over = 15 / Math.log1p(most || 1)
    for (let place = 0; place < many.length; place++) if (many[place]) pixels[place] = steps[Math.log1p(many[place]) * over | 0][last[place]]
  }
}

// Some browsers say that WebGL is slow, others only by whom it is done.
function quick () {
  const probe = document.createElement('canvas').getContext('webgl2', { failIfMajorPerformanceCaveat: true })
  if (!probe) return false
  const told = probe.getExtension('WEBGL_debug_renderer_info')
  const by = String(probe.getParameter(told ? told.UNMASKED_RENDERER_WEBGL : probe.RENDERER))
  probe.getExtension('WEBGL_lose_context')?.loseContext()
  return !/swiftshader|llvmpipe|softpipe|software|basic render/i.test(by)
}

// Whoever draws this canvas best. `wanted`: 'webgl' or 'plain', whatever there is.
export function drawer (canvas, Scatter, wanted) {
  const chosen = wanted || (quick() ? 'webgl' : 'plain')
  canvas.dataset.drawn = chosen
  return chosen === 'webgl' ? new Scatter(canvas) : new Plain(canvas)
}
