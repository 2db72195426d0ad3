// Draws up to millions of points with WebGL 2: each by itself, or, where there are too many, how dense they lie.
import { View } from './map-view.js'

const POINT = `#version 300 es
precision highp float;
in vec2 place; in float shade; in float chosen;
uniform vec2 centre, scale; uniform float size, dim; uniform sampler2D palette;
out vec4 colour;
void main () {
  gl_Position = shade < 0.0 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = chosen > 0.5 ? size + 2.0 : size;
  colour = vec4(texelFetch(palette, ivec2(int(clamp(shade, 0.0, 1.0) * 255.0 + 0.5), 0), 0).rgb, chosen > 0.5 || dim < 0.5 ? 0.8 : 0.13);
}`
const DOT = `#version 300 es
precision highp float;
in vec4 colour; uniform float size; out vec4 drawn;
void main () {
  if (size > 3.0 && distance(gl_PointCoord, vec2(0.5)) > 0.5) discard;
  drawn = colour;
}`
const HEAP = `#version 300 es
precision highp float;
in vec4 colour; out vec4 drawn;
void main () { drawn = vec4(colour.rgb, 1.0) * colour.a; }`
const WHOLE = `#version 300 es
out vec2 at;
void main () { at = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0; gl_Position = vec4(at * 2.0 - 1.0, 0.0, 1.0); }`
const TONE = `#version 300 es
precision highp float;
in vec2 at; uniform sampler2D heap; uniform float peak; out vec4 drawn;
void main () {
  vec4 sum = texture(heap, at);
  if (sum.a <= 0.0) discard;
  drawn = vec4(sum.rgb / sum.a, clamp(log(1.0 + sum.a) / log(1.0 + peak), 0.12, 1.0));
}`

export class Scatter extends View {
  // Throws where there is no WebGL 2.
  constructor (canvas) {
    super(canvas)
    this.gl = canvas.getContext('webgl2', { alpha: false, antialias: false, powerPreference: 'high-performance' })
    if (!this.gl) throw new Error('WebGL 2')
    this.room = 0
    canvas.addEventListener('webglcontextlost', event => { event.preventDefault(); this.lost = true })
    canvas.addEventListener('webglcontextrestored', () => { this.lost = false; this.make(); this.again?.() })
    this.make()
  }

  make () {
    const gl = this.gl
    this.dots = this.program(POINT, DOT)
    this.heaps = gl.getExtension('EXT_color_buffer_float') && this.program(POINT, HEAP)
    this.tone = this.heaps && this.program(WHOLE, TONE)
    this.palette = this.texture(gl.NEAREST)
    this.heap = undefined
    this.buffers = { place: gl.createBuffer(), shade: gl.createBuffer(), chosen: gl.createBuffer() }
    this.room = 0
    this.points = gl.createVertexArray()
    this.empty = gl.createVertexArray()
    gl.bindVertexArray(this.points)
    for (const [at, [name, size, type]] of [['place', 2, gl.FLOAT], ['shade', 1, gl.FLOAT], ['chosen', 1, gl.UNSIGNED_BYTE]].entries()) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name])
      gl.enableVertexAttribArray(at)
      gl.vertexAttribPointer(at, size, type, false, 0, 0)
    }
  }

  program (vertex, fragment) {
    const gl = this.gl
    const made = gl.createProgram()
    for (const [kind, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind)
      gl.shaderSource(shader, text)
      gl.compileShader(shader)
      gl.attachShader(made, shader)
    }
    for (const [at, name] of ['place', 'shade', 'chosen'].entries()) gl.bindAttribLocation(made, at, name)
    gl.linkProgram(made)
    if (!gl.getProgramParameter(made, gl.LINK_STATUS) && !gl.isContextLost()) throw new Error(gl.getProgramInfoLog(made))
    return made
  }

  texture (filter) {
    const gl = this.gl
    const made = gl.createTexture()
    gl.bindTexture(gl.TEXTURE_2D, made)
    for (const [name, value] of [['MIN_FILTER', filter], ['MAG_FILTER', filter], ['WRAP_S', gl.CLAMP_TO_EDGE], ['WRAP_T', gl.CLAMP_TO_EDGE]]) {
      gl.texParameteri(gl.TEXTURE_2D, gl[`TEXTURE_${name}`], value)
    }
    return made
  }

  // Points from `first` on are new or others; x, y, shade, chosen hold all of them.
  put (first, count, x, y, shade, chosen) {
    const gl = this.gl
    if (count > this.room) {
      first = 0
      this.room = Math.max(4096, Math.ceil(count * 1.25))
      for (const [name, size] of [['place', 8], ['shade', 4], ['chosen', 1]]) {
        gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[name])
        gl.bufferData(gl.ARRAY_BUFFER, this.room * size, gl.DYNAMIC_DRAW)
      }
    }
    if (count > first) {
      const places = new Float32Array(2 * (count - first))
      for (let at = first, to = 0; at < count; at++) { places[to++] = x[at]; places[to++] = y[at] }
      this.upload('place', 8 * first, places)
    }
    this.count = count
    this.paint(first, shade, chosen)
  }

  paint (first, shade, chosen) {
    if (this.count > first) {
      this.upload('shade', 4 * first, shade.subarray(first, this.count))
      this.upload('chosen', first, chosen.subarray(first, this.count))
    }
    this.redraw()
  }

  upload (name, at, values) {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.buffers[name])
    this.gl.bufferSubData(this.gl.ARRAY_BUFFER, at, values)
  }

  // 256 colours, four bytes each.
  colours (bytes) {
    const gl = this.gl
    gl.bindTexture(gl.TEXTURE_2D, this.palette)
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes)
    this.redraw()
  }

  get dense () { return Boolean(this.heaps) && super.dense }

  draw () {
    const gl = this.gl
    if (this.lost || !this.canvas.clientWidth) return
    const ratio = Math.min(devicePixelRatio, 2)
    const [width, height] = [Math.round(this.canvas.clientWidth * ratio), Math.round(this.canvas.clientHeight * ratio)]
    if (this.canvas.width !== width || this.canvas.height !== height) { this.canvas.width = width; this.canvas.height = height }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, width, height)
    gl.clearColor(...this.ground, 1)
    gl.clear(gl.COLOR_BUFFER_BIT)
    gl.enable(gl.BLEND)
    if (this.dense) this.drawDensity(width, height)
    else {
      gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA)
      this.drawPoints(this.dots, this.size * ratio)
    }
  }

  drawPoints (program, size) {
    const gl = this.gl
    const { x, y, scale } = this.view
    gl.useProgram(program)
    gl.activeTexture(gl.TEXTURE0)
    gl.bindTexture(gl.TEXTURE_2D, this.palette)
    const uniform = name => gl.getUniformLocation(program, name)
    gl.uniform1i(uniform('palette'), 0)
    gl.uniform2f(uniform('centre'), x, y)
    gl.uniform2f(uniform('scale'), 2 * scale / this.canvas.clientWidth, 2 * scale / this.canvas.clientHeight)
    gl.uniform1f(uniform('size'), size)
    gl.uniform1f(uniform('dim'), this.dim ? 1 : 0)
    gl.bindVertexArray(this.points)
    gl.drawArrays(gl.POINTS, 0, this.count)
  }

  drawDensity (width, height) {
    const gl = this.gl
    const [w, h] = [Math.ceil(width / 2), Math.ceil(height / 2)]
    if (!this.heap || this.heap.w !== w || this.heap.h !== h) {
      if (this.heap) { gl.deleteTexture(this.heap.texture); gl.deleteFramebuffer(this.heap.frame) }
      const texture = this.texture(gl.LINEAR)
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA16F, w, h, 0, gl.RGBA, gl.HALF_FLOAT, null)
      const frame = gl.createFramebuffer()
      gl.bindFramebuffer(gl.FRAMEBUFFER, frame)
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, texture, 0)
      this.heap = { w, h, texture, frame }
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.heap.frame)
    gl.viewport(0, 0, w, h)
    gl.clearColor(0, 0, 0, 0)
    gl.clear(gl.COLOR_BUFFER_BIT)
    gl.blendFunc(gl.ONE, gl.ONE)
    this.drawPoints(this.heaps, 1)
    gl.bindFramebuffer(gl.FRAMEBUFFER, null)
    gl.viewport(0, 0, width, height)
    gl.blendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA)
    gl.useProgram(this.tone)
    gl.bindTexture(gl.TEXTURE_2D, this.heap.texture)
    gl.uniform1i(gl.getUniformLocation(this.tone, 'heap'), 0)
    gl.uniform1f(gl.getUniformLocation(this.tone, 'peak'), Math.max(4, this.count / (w * h) * 20 * Math.min(1, 4 / this.zoom ** 2) + 3))
    gl.bindVertexArray(this.empty)
    gl.drawArrays(gl.TRIANGLES, 0, 3)
  }
}
