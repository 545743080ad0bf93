// A canvas of p × p pixels for one map.

import { context2d, el } from "./dom.js";

/** @import { Palette } from "./types.js" */

export class MapCanvas {
  /** @param {number} p */
  constructor(p) {
    this.canvas = el("canvas", null, null, { width: p, height: p });
    this.context = context2d(this.canvas);
    this.image = new ImageData(p, p);
    this.pixels = new Uint32Array(this.image.data.buffer);
  }
  /** @param {Float32Array} values (a, b) @param {number} largest the top of the color scale @param {Palette} palette */
  paint(values, largest, { lut, minus }) {
    const { pixels } = this;
    const scale = largest > 0 ? 255 / largest : 0;
    for (let i = 0; i < pixels.length; i++) {
      const value = values[i];
      const level = ((value < 0 ? -value : value) * scale + 0.5) | 0;
      pixels[i] = (value < 0 ? minus : lut)[level > 255 ? 255 : level];
    }
    this.context.putImageData(this.image, 0, 0);
  }
  clear() {
    this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
  /** Set the size in CSS pixels; single cells stay sharp. @param {number} size */
  setSize(size) {
    this.canvas.style.imageRendering = size * devicePixelRatio >= this.canvas.width ? "pixelated" : "auto";
  }
}
