// Cells as columns that grow: what the gateway answers is read into typed arrays, without an object a cell.
const ARRAYS = { float64: Float64Array, float32: Float32Array, uint16: Uint16Array, uint32: Uint32Array }

// An answer of /api/v1/map/points: what its line of JSON says, and the columns by name.
export function unpacked (buffer) {
  const length = new DataView(buffer).getUint32(0, true)
  const about = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))
  const columns = {}
  for (const one of about.Columns) columns[one.Name] = new ARRAYS[one.Type](buffer, 4 + length + one.At, one.Count)
  return { about, columns }
}

export class Columns {
  constructor () { this.count = 0; this.room = 0; this.all = {} }

  // Those of cells that have a place; the number of the first.
  add (fresh) {
    const first = this.count
    const { x, y } = fresh
    const here = []
    for (let at = 0; at < x.length; at++) if (x[at] === x[at] && y[at] === y[at]) here.push(at)
    this.grow(first + here.length, fresh)
    for (const [name, column] of Object.entries(fresh)) {
      const mine = this.all[name]
      if (here.length === x.length) mine.set(column, first)
      else for (let at = 0; at < here.length; at++) mine[first + at] = column[here[at]]
    }
    this.count = first + here.length
    return first
  }

  grow (wanted, fresh) {
    if (wanted <= this.room) return
    this.room = Math.max(wanted, Math.ceil(this.room * 1.5), 4096)
    for (const [name, column] of Object.entries(fresh)) {
      const larger = new column.constructor(this.room)
      if (this.all[name]) larger.set(this.all[name].subarray(0, this.count))
      this.all[name] = larger
    }
  }

  column (name) { return this.all[name] ? this.all[name].subarray(0, this.count) : new Float32Array(0) }

  // The smallest box that holds all but the farthest thousandth of each side, so that one stray cell does not hide the rest.
  extent () {
    const side = name => {
      const column = this.column(name)
      const step = Math.max(1, Math.floor(column.length / 20000))
      const some = Float32Array.from({ length: Math.ceil(column.length / step) }, (_, at) => column[at * step]).sort()
      const edge = Math.floor(some.length / 1000)
      return [some[edge], some[some.length - 1 - edge]]
    }
    return this.count ? [side('x'), side('y')] : [[-1, 1], [-1, 1]]
  }

  // Marks (1) the cells in a polygon, [[x, y], …]; the even-odd rule, as the gateway has it. How many.
  within (polygon, marks, from = 0) {
    const { x, y } = this.all
    const xs = polygon.map(one => one[0]), ys = polygon.map(one => one[1])
    const [left, right, low, high] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)]
    let found = 0
    for (let at = from; at < this.count; at++) {
      const px = x[at], py = y[at]
      let inside = 0
      if (px >= left && px <= right && py >= low && py <= high) {
        for (let corner = 0, before = xs.length - 1; corner < xs.length; before = corner++) {
          if ((ys[corner] > py) !== (ys[before] > py) &&
              px < (xs[before] - xs[corner]) * (py - ys[corner]) / (ys[before] - ys[corner]) + xs[corner]) inside ^= 1
        }
      }
      marks[at] = inside
      found += inside
    }
    return found
  }
}
