// A photo of the album and its edit. An edit is never changed in place: each step makes a new one.

const MOST_STEPS = 200;
const EMPTY = { objects: [], points: [], map: null, caption: null, preset: null, saturation: 1, strength: 1 };
const EMPTY_OBJECT = { outline: [], label: null, color: null, on: true };
const EMPTY_POINT = { radius: 2 };

export class Photo {
  constructor({ id, name, size, bits, objects }) {
    Object.assign(this, { id, name, size, bits });
    this.edit = { ...EMPTY, size, objects };
    this.past = [];
    this.future = [];
    this.selected = null; // number of an object
    this.words = {}; // {number of an object: words of the caption}
    this.heard = ''; // how the caption was understood
    this.map = null; // ClassMap, where it is shown
    this.gray = this.picture = null; // ImageBitmap of the preview
    this.fullGray = this.fullPicture = null; // and of the photo's own size, where the view needs them
  }

  /** Replaces one of the bitmaps; the old one's memory is free at once. */
  put(name, bitmap) {
    this[name]?.close();
    this[name] = bitmap;
  }

  get height() {
    return this.size[0];
  }

  get width() {
    return this.size[1];
  }

  get object() {
    return this.edit.objects[this.selected] ?? null;
  }

  /** Makes a step that can be undone; `change` gets a copy of the edit to work on. */
  step(change) {
    const next = structuredClone(this.edit);
    change(next);
    this.past.push(this.edit);
    if (this.past.length > MOST_STEPS) this.past.shift();
    this.future = [];
    this.#become(next);
  }

  /** Changes the last step further, as while something is dragged. */
  goOn(change) {
    const next = structuredClone(this.edit);
    change(next);
    this.#become(next);
  }

  /** Takes the last step back for good. */
  takeBack() {
    this.undo();
    this.future.pop();
  }

  undo() {
    if (!this.past.length) return;
    this.future.push(this.edit);
    this.#become(this.past.pop());
  }

  redo() {
    if (!this.future.length) return;
    this.past.push(this.edit);
    this.#become(this.future.pop());
  }

  #become(edit) {
    if (edit.caption !== this.edit.caption || edit.objects.length !== this.edit.objects.length) {
      this.words = {};
      this.heard = '';
    }
    this.edit = edit;
    if (this.selected !== null && this.selected >= edit.objects.length) this.selected = null;
    this.put('fullPicture', null);
  }
}

/** The content of a file of edits, as the command line reads it. */
export function toFile(photos, labels) {
  const entries = photos.map((photo) => [photo.name, said(photo.edit)]);
  return JSON.stringify({ edits: 1, photos: Object.fromEntries(entries), labels }, null, 1) + '\n';
}

/** An entry without its null fields. */
function said(entry) {
  return Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== null));
}

/** The edit of a photo in a file of edits; null if there is none. */
export function fromFile(content, photo) {
  const entry = content.photos?.[photo.name];
  if (!entry) return null;
  const [height, width] = entry.size ?? photo.size;
  if (Math.abs(photo.width / width / (photo.height / height) - 1) > 0.02) {
    throw new Error(`${photo.name} has another aspect ratio than the photo in the file of edits`);
  }
  const times = (values) => values.map((value) => (value * photo.width) / width);
  const objects = entry.objects?.map((each) => {
    const object = { ...EMPTY_OBJECT, ...said(each) };
    return { ...object, box: times(object.box), outline: object.outline.map((polygon) => polygon.map(times)) };
  });
  const points = entry.points?.map((each) => {
    const point = { ...EMPTY_POINT, ...said(each) };
    return { ...point, point: times(point.point), radius: point.radius * (photo.width / width) };
  });
  return { ...EMPTY, ...said(entry), size: photo.size, objects: objects ?? photo.edit.objects, points: points ?? [] };
}
