// The class of each pixel of a photo, as a picture in the colours of the classes. It is painted on here; edits hold it as
// a PNG in base64 with exactly these colours.

const PREFIX = 'data:image/png;base64,';

/** The colours of the classes as the pixel values of a canvas. */
export class Palette {
  constructor(classes) {
    const bytes = classes.flatMap(({ color }) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)).concat(255));
    this.colors = new Uint32Array(new Uint8Array(bytes).buffer);
    // In grey files the values are the numbers of the classes.
    const gray = (_, number) => 0xff000000 + number * 0x010101;
    this.classes = new Map([...this.colors.map(gray), ...this.colors].map((color, at) => [color, at % classes.length]));
  }
}

export class ClassMap {
  /** Reads a PNG blob and remembers its `source`. Throws if a colour is not that of a class. */
  static async read(blob, palette, photo, source) {
    const picture = await createImageBitmap(blob, { colorSpaceConversion: 'none' });
    const map = new ClassMap(picture, palette, photo, source);
    picture.close();
    return map;
  }

  constructor(picture, palette, photo, source) {
    const { width, height } = picture;
    this.palette = palette;
    this.source = source;
    this.canvas = Object.assign(document.createElement('canvas'), { width, height });
    this.context = this.canvas.getContext('2d', { willReadFrequently: true });
    this.context.drawImage(picture, 0, 0);
    this.image = this.context.getImageData(0, 0, width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.scale = [width / photo.width, height / photo.height]; // of a pixel of the photo
    for (const [at, color] of this.pixels.entries()) {
      const number = palette.classes.get(color);
      if (number === undefined) throw new Error(`the map of ${photo.name} has a colour that belongs to no class`);
      this.pixels[at] = palette.colors[number];
    }
    this.context.putImageData(this.image, 0, 0);
  }

  /** The base64 of a PNG. */
  toBase64() {
    return this.canvas.toDataURL('image/png').slice(PREFIX.length);
  }

  /** The class at a point of the photo. */
  pick(point) {
    return this.palette.classes.get(this.pixels[this.#at(point)]);
  }

  /** Paints a line with round ends, at least a pixel wide; all in pixels of the photo. */
  brush(from, to, radius, number) {
    const { width, height } = this.canvas;
    const [[x0, y0], [x1, y1]] = [this.#scaled(from), this.#scaled(to)];
    const [dx, dy, reach] = [x1 - x0, y1 - y0, Math.max(Math.SQRT1_2, radius * this.scale[0])];
    const [left, right] = [Math.max(0, Math.floor(Math.min(x0, x1) - reach)), Math.min(width, Math.ceil(Math.max(x0, x1) + reach))];
    const [top, bottom] = [Math.max(0, Math.floor(Math.min(y0, y1) - reach)), Math.min(height, Math.ceil(Math.max(y0, y1) + reach))];
    const length = dx * dx + dy * dy || 1;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const [px, py] = [x + 0.5 - x0, y + 0.5 - y0];
        const along = Math.min(1, Math.max(0, (px * dx + py * dy) / length));
        if (Math.hypot(px - along * dx, py - along * dy) <= reach) this.pixels[y * width + x] = this.palette.colors[number];
      }
    }
    this.context.putImageData(this.image, 0, 0, left, top, right - left, bottom - top);
  }

  /** Fills the connected area of one class around a point with another one; returns whether that changes anything. */
  fill(point, number) {
    const { width } = this.canvas;
    const { pixels } = this;
    const color = this.palette.colors[number];
    const waiting = [this.#at(point)];
    const before = pixels[waiting[0]];
    if (before === color) return false;
    while (waiting.length) {
      const at = waiting.pop();
      if (pixels[at] !== before) continue;
      pixels[at] = color;
      if (at % width) waiting.push(at - 1);
      if ((at + 1) % width) waiting.push(at + 1);
      waiting.push(at - width, at + width); // beyond the first and last row there are no pixels
    }
    this.context.putImageData(this.image, 0, 0);
    return true;
  }

  #scaled([x, y]) {
    return [x * this.scale[0], y * this.scale[1]];
  }

  #at(point) {
    const { width, height } = this.canvas;
    const [x, y] = this.#scaled(point);
    return Math.min(height - 1, Math.floor(y)) * width + Math.min(width - 1, Math.floor(x));
  }
}

/** The blob of a PNG in base64. */
export function pngOf(base64) {
  return new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: 'image/png' });
}
