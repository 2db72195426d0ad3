// Colours of cells: distinct ones for names (Okabe and Ito 2008, and lighter or darker ones of the same), a ramp from
// blue to yellow for numbers. All of them are seen on a light ground as well as on a dark one.
const NAMES = ['#0072b2', '#e69f00', '#009e73', '#cc79a7', '#d55e00', '#56b4e9', '#8a7300', '#7b5ea7', '#5f6b73', '#a6761d', '#1b9e9e', '#c23b6b']
const RAMP = ['#3b6fd4', '#7d6cc4', '#b8629c', '#d9655f', '#e5822b', '#e0ab00']

const rgb = text => [1, 3, 5].map(at => parseInt(text.slice(at, at + 2), 16))

// 256 colours, four bytes each: for names one after the other, for numbers from the least to the most.
export function palette (kind) {
  const named = kind === 'class' || kind === 'instrument'
  const bytes = new Uint8Array(1024)
  for (let at = 0; at < 256; at++) {
    let colour
    if (named) colour = rgb(NAMES[at % NAMES.length])
    else {
      const place = at / 255 * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(place))
      const [a, b] = [rgb(RAMP[low]), rgb(RAMP[low + 1])]
      colour = a.map((one, channel) => Math.round(one + (b[channel] - one) * (place - low)))
    }
    bytes.set([...colour, 255], 4 * at)
  }
  return bytes
}

export function swatch (code) {
  const made = Object.assign(document.createElement('span'), { className: 'swatch' })
  made.style.background = NAMES[code % 256 % NAMES.length]
  return made
}

// Where in the palette each cell from `first` on is, 0…1; what has no number is in its middle.
export function shades (kind, cells, shade, first, [least, most]) {
  const column = cells.all[kind]
  if (!column) return
  const named = kind === 'class' || kind === 'instrument'
  const over = most > least ? most - least : 1
  for (let at = first; at < cells.count; at++) {
    const value = column[at]
    shade[at] = named ? (value % 256) / 255 : value === value ? Math.min(1, Math.max(0, (value - least) / over)) : 0.5
  }
}
