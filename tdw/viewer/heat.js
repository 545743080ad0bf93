// Heat maps: numbers of a table to pixels, each pixel taking the largest (by size) of the cells that fall into it.

/** Cells of one axis for `pixels` pixels that show the cells `from` … `to` (excluded): {low, high}, high excluded. */
export const pixelCells = (from, to, pixels) => {
  const low = new Int32Array(pixels);
  const high = new Int32Array(pixels);
  for (let i = 0; i < pixels; i++) {
    low[i] = from + Math.floor((i * (to - from)) / pixels);
    high[i] = from + Math.floor(((i + 1) * (to - from)) / pixels);
  }
  return { low, high };
};

/**
 * What color a number has. scale: {type: "linear" | "log", top, bottom}: from nothing at 0 (linear) or at `bottom`
 * (log) to full at `top`. Numbers below 0 run the same way in the other color. NaN is transparent.
 */
export const colorScale = ({ lut, minus }, { type, top, bottom }) => {
  if (type === "log") {
    const low = Math.log(bottom);
    const over = 255 / Math.max(Math.log(top) - low, 1e-9);
    return (v) => {
      if (!(v > bottom)) return v === v ? lut[0] : 0;
      const level = ((Math.log(v) - low) * over + 0.5) | 0;
      return lut[level > 255 ? 255 : level];
    };
  }
  const over = top > 0 ? 255 / top : 0;
  return (v) => {
    if (v !== v) return 0;
    const level = (Math.abs(v) * over + 0.5) | 0;
    return (v < 0 ? minus : lut)[level > 255 ? 255 : level];
  };
};

export class HeatMap {
  constructor() {
    this.buffer = document.createElement("canvas");
  }
  /**
   * Paint a table. data[from + row * stepY + order[column] * stepX] (order may be left out); rows and columns as pixelCells
   * gives them, the first row at the bottom unless `down`; (dx, dy, dw, dh) is where on the canvas of g.
   */
  paint(g, { data, from, stepY, stepX, order, rows, columns, down }, tone, [dx, dy, dw, dh]) {
    const w = columns.low.length;
    const h = rows.low.length;
    if (!this.image || this.image.width !== w || this.image.height !== h) {
      Object.assign(this.buffer, { width: w, height: h });
      this.image = new ImageData(w, h);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    for (let j = 0; j < h; j++) {
      const top = rows.low[j];
      const bottom = rows.high[j];
      let to = (down ? j : h - 1 - j) * w;
      for (let i = 0; i < w; i++, to++) {
        const right = columns.high[i];
        let value = NaN;
        let size = -1;
        for (let k = top; k < bottom; k++) {
          for (let c = columns.low[i]; c < right; c++) {
            const here = data[from + k * stepY + (order ? order[c] : c) * stepX];
            const much = here < 0 ? -here : here;
            if (much > size) {
              value = here;
              size = much;
            }
          }
        }
        this.pixels[to] = tone(value);
      }
    }
    this.buffer.getContext("2d").putImageData(this.image, 0, 0);
    g.imageSmoothingEnabled = false;
    g.drawImage(this.buffer, dx, dy, dw, dh);
  }
}
