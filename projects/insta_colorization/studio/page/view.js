// The canvas: shows the photo before and after, its objects, points and map, and handles mouse, touch and pen.
// Photo coordinates are x, y in pixels of the whole photo; view coordinates are CSS pixels of the canvas.

import { css } from './colors.js';

const NEAR = 12; // CSS pixels
const CLICK = 5;
const MOST_SCALE = 16;
const MARK = '#ffb454';
const ON_MAP = ['brush', 'fill', 'pick'];
const CLICKED = { point: 'addpoint', brush: 'dab', fill: 'fill', pick: 'pick' };

export class View extends EventTarget {
  tool = 'select';
  outlines = true;
  split = 0; // where "after" begins, as a fraction of the visible photo's width
  mapOpacity = 0.5;
  brushSize = 5; // diameter, in percent of the photo's longer side

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.photo = null;
    this.scale = 1;
    this.x = this.y = 0;
    this.fitted = true; // whether the whole photo is kept in view when the canvas is resized
    this.hover = null;
    this.pointers = new Map();
    this.drag = null;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener('pointerleave', () => this.#hovers(null));
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener('contextmenu', (event) => this.#menu(event));
  }

  show(photo) {
    this.photo = photo;
    this.fitted = true;
    this.fit();
    this.draw();
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.photo || !width) return;
    this.scale = Math.min(width / this.photo.width, height / this.photo.height, 4);
    this.x = (width - this.photo.width * this.scale) / 2;
    this.y = (height - this.photo.height * this.scale) / 2;
    this.#moved(true);
  }

  /** Zooms so that one pixel of the photo has `scale` CSS pixels and what is at (x, y) of the view stays there. */
  zoom(scale, x = this.canvas.clientWidth / 2, y = this.canvas.clientHeight / 2) {
    if (!this.photo) return;
    const least = Math.min(0.02, this.scale);
    const next = Math.min(MOST_SCALE, Math.max(least, scale));
    this.x = x - ((x - this.x) * next) / this.scale;
    this.y = y - ((y - this.y) * next) / this.scale;
    this.scale = next;
    this.#moved();
  }

  /** Screen pixels for one pixel of the photo. */
  get density() {
    return this.scale * devicePixelRatio;
  }

  /** Whether the tool works on the map, which is then shown. */
  get onMap() {
    return ON_MAP.includes(this.tool);
  }

  /** The radius of the brush, in pixels of the photo. */
  get radius() {
    return (this.brushSize / 200) * Math.max(this.photo.width, this.photo.height);
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      this.#paint();
    });
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #moved(fitted = false) {
    this.fitted = fitted;
    this.draw();
    this.#emit('moved');
  }

  #hovers(view) {
    this.hover = view;
    if (this.tool === 'brush') this.draw();
  }

  #resize() {
    const { canvas } = this;
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (this.fitted) this.fit();
    this.draw();
  }

  /** The x position of the line between before and after, in the view. */
  get #line() {
    const left = Math.max(0, this.x);
    const right = Math.min(this.canvas.clientWidth, this.x + this.photo.width * this.scale);
    return left + this.split * (right - left);
  }

  #paint() {
    const { context, canvas, photo } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const gray = photo?.fullGray ?? photo?.gray;
    if (!gray) return;
    const ratio = devicePixelRatio;
    // Whole pixels of the screen, so that nothing is blurred at 1:1.
    context.setTransform(this.density, 0, 0, this.density, Math.round(this.x * ratio), Math.round(this.y * ratio));
    context.imageSmoothingEnabled = this.density < 3;
    context.imageSmoothingQuality = 'high';
    const after = photo.fullPicture ?? photo.picture;
    const from = after ? (this.#line - this.x) / this.scale : photo.width;
    this.#paintPart(gray, 0, from);
    if (after) this.#paintPart(after, from, photo.width);
    if (this.onMap && photo.map) {
      context.globalAlpha = this.mapOpacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(photo.map.canvas, 0, 0, photo.width, photo.height);
      context.globalAlpha = 1;
    }
    if (this.outlines) photo.edit.objects.forEach((each, number) => this.#paintObject(each, number));
    photo.edit.points.forEach((each) => this.#paintPoint(each));
    if (this.drag?.box) this.#paintBox(this.drag.box, true);
    if (this.hover && this.tool === 'brush') this.#paintBrush();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (after) this.#paintLine();
  }

  /** Paints a picture of the photo between two columns. */
  #paintPart(picture, left, right) {
    const { context, photo } = this;
    if (right <= left) return;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, photo.height);
    context.clip();
    context.drawImage(picture, 0, 0, photo.width, photo.height);
    context.restore();
  }

  #paintLine() {
    const { context } = this;
    const top = Math.max(0, this.y);
    const bottom = Math.min(this.canvas.clientHeight, this.y + this.photo.height * this.scale);
    const x = Math.min(this.canvas.clientWidth - NEAR, Math.max(NEAR, this.#line)); // of the knob, never cut off
    context.fillStyle = '#fff';
    context.fillRect(this.#line - 1, top, 2, bottom - top);
    context.beginPath();
    context.arc(x, (top + bottom) / 2, NEAR, 0, 2 * Math.PI);
    context.fill();
    context.fillStyle = '#333';
    context.font = 'bold 12px system-ui, sans-serif';
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText('↔', x, (top + bottom) / 2);
  }

  #paintObject(each, number) {
    const { context, photo } = this;
    const chosen = number === photo.selected;
    context.lineWidth = (chosen ? 2.5 : 1.5) / this.scale;
    context.setLineDash(each.on ? [] : [6 / this.scale, 4 / this.scale]);
    context.strokeStyle = chosen ? MARK : each.on ? 'rgba(255, 255, 255, .75)' : 'rgba(255, 255, 255, .4)';
    context.stroke(pathOf(each));
    context.setLineDash([]);
    if (chosen) this.#paintBox(each.box, true);
    const text = photo.words[number] ?? (chosen ? each.label : null);
    if (text) this.#paintText(text, each.box[0], each.box[1]);
  }

  #paintText(text, x, y) {
    const { context } = this;
    const size = 13 / this.scale;
    context.font = `${size}px system-ui, sans-serif`;
    context.textAlign = 'left';
    context.textBaseline = 'top';
    const width = context.measureText(text).width;
    context.fillStyle = 'rgba(20, 20, 20, .8)';
    context.fillRect(x, Math.max(0, y), width + size, size * 1.5);
    context.fillStyle = '#fff';
    context.fillText(text, x + size / 2, Math.max(0, y) + size * 0.25);
  }

  #paintBox(box, handles) {
    const { context } = this;
    const [x0, y0, x1, y1] = box;
    context.strokeStyle = MARK;
    context.lineWidth = 1 / this.scale;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
    if (!handles) return;
    const half = 4 / this.scale;
    context.fillStyle = MARK;
    for (const [x, y] of cornersOf(box)) context.fillRect(x - half, y - half, 2 * half, 2 * half);
  }

  #paintBrush() {
    const { context } = this;
    context.beginPath();
    context.arc(...this.#inPhoto(this.hover), this.radius, 0, 2 * Math.PI);
    for (const [color, width] of [['#000', 3], ['#fff', 1.5]]) {
      context.strokeStyle = color;
      context.lineWidth = width / this.scale;
      context.stroke();
    }
  }

  #paintPoint({ point: [x, y], color, radius }) {
    const { context } = this;
    context.beginPath();
    context.arc(x, y, Math.max(radius, 5 / this.scale), 0, 2 * Math.PI);
    context.fillStyle = css(color);
    context.fill();
    context.lineWidth = 2 / this.scale;
    context.strokeStyle = '#fff';
    context.stroke();
  }

  // --- hit testing ---

  #inView(event) {
    const area = this.canvas.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  }

  #inPhoto([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  #isInside([x, y]) {
    return x >= 0 && y >= 0 && x < this.photo.width && y < this.photo.height;
  }

  #pointAt([x, y]) {
    const near = ({ point, radius }) => Math.hypot(point[0] - x, point[1] - y) <= Math.max(radius, NEAR / this.scale);
    return this.photo.edit.points.findLastIndex(near);
  }

  /** The smallest object whose outline, or else box, contains a point of the photo; null if there is none. */
  #objectAt([x, y]) {
    const { context } = this;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    const area = ({ box }) => (box[2] - box[0]) * (box[3] - box[1]);
    const inBox = ({ box }) => x >= box[0] && x < box[2] && y >= box[1] && y < box[3];
    const all = [...this.photo.edit.objects.entries()].sort((one, other) => area(one[1]) - area(other[1]));
    const found =
      all.find(([, each]) => context.isPointInPath(pathOf(each), x, y, 'evenodd')) ?? all.find(([, each]) => inBox(each));
    context.restore();
    return found ? found[0] : null;
  }

  #cornerAt([x, y]) {
    const { object } = this.photo;
    if (!object) return -1;
    return cornersOf(object.box).findIndex(([cx, cy]) => Math.hypot(cx - x, cy - y) <= NEAR / this.scale);
  }

  // --- pointers ---

  #down(event) {
    if (!this.photo?.gray) return;
    this.canvas.setPointerCapture(event.pointerId);
    const view = this.#inView(event);
    this.pointers.set(event.pointerId, view);
    if (this.pointers.size === 2) {
      if (this.drag) this.#end(this.drag, false);
      this.drag = { kind: 'pinch', ...this.#spread() };
    } else if (event.button <= 1) {
      // The middle button pans whatever the tool is.
      const begun = event.button ? { kind: 'pan', moved: true } : this.#begin(view, event);
      this.drag = { start: view, at: view, ...begun };
    }
  }

  #begin(view, event) {
    const at = this.#inPhoto(view);
    const corner = this.#cornerAt(at);
    if (this.tool === 'select' && corner >= 0) return { kind: 'corner', corner };
    if (this.tool === 'brush') return this.#isInside(at) ? { kind: 'brush', last: at } : { kind: 'pan' };
    if (!this.onMap && this.photo.picture && Math.abs(view[0] - this.#line) <= NEAR) return { kind: 'split' };
    if (this.tool === 'box') return { kind: 'box', box: [...at, ...at] };
    if (this.tool === 'point') {
      const number = this.#pointAt(at);
      return number >= 0 ? { kind: 'point', number } : { kind: 'pan' };
    }
    const mouse = event.pointerType !== 'touch';
    const inside = this.tool === 'select' && mouse && this.photo.selected !== null && this.#objectAt(at) === this.photo.selected;
    return inside ? { kind: 'object', last: at } : { kind: 'pan' };
  }

  #spread() {
    const [[ax, ay], [bx, by]] = this.pointers.values();
    return { distance: Math.hypot(ax - bx, ay - by), middle: [(ax + bx) / 2, (ay + by) / 2] };
  }

  #move(event) {
    this.#hovers(this.#inView(event));
    if (!this.pointers.has(event.pointerId) || !this.drag) return;
    const view = this.#inView(event);
    this.pointers.set(event.pointerId, view);
    const { drag } = this;
    if (drag.kind === 'pinch') {
      if (this.pointers.size < 2) return;
      const now = this.#spread();
      this.x += now.middle[0] - drag.middle[0];
      this.y += now.middle[1] - drag.middle[1];
      this.zoom((this.scale * now.distance) / drag.distance, ...now.middle);
      Object.assign(drag, now);
      return;
    }
    drag.moved ||= Math.hypot(view[0] - drag.start[0], view[1] - drag.start[1]) > CLICK;
    if (!drag.moved && drag.kind !== 'split') return;
    this.#dragged(drag, view);
    drag.at = view;
    this.draw();
  }

  #dragged(drag, view) {
    const at = this.#inPhoto(view);
    const first = !drag.begun;
    drag.begun = true;
    if (drag.kind === 'pan') {
      this.x += view[0] - drag.at[0];
      this.y += view[1] - drag.at[1];
      this.#moved();
    } else if (drag.kind === 'split') {
      const left = Math.max(0, this.x);
      const right = Math.min(this.canvas.clientWidth, this.x + this.photo.width * this.scale);
      this.#emit('split', { split: Math.min(1, Math.max(0, (view[0] - left) / (right - left))) });
    } else if (drag.kind === 'box') {
      drag.box = drag.box.with(2, at[0]).with(3, at[1]);
    } else if (drag.kind === 'point') {
      this.#emit('movepoint', { number: drag.number, point: at, first });
    } else if (drag.kind === 'brush') {
      this.#emit('brush', { from: drag.last, to: at });
      drag.last = at;
    } else if (this.photo.object) {
      this.#emit('reshape', { box: this.#reshaped(drag, at), first, move: drag.kind === 'object' });
    }
  }

  #reshaped(drag, [x, y]) {
    const box = [...this.photo.object.box];
    if (drag.kind === 'corner') {
      box[[0, 2, 2, 0][drag.corner]] = x;
      box[[1, 1, 3, 3][drag.corner]] = y;
      return box;
    }
    const [dx, dy] = [x - drag.last[0], y - drag.last[1]];
    drag.last = [x, y];
    return [box[0] + dx, box[1] + dy, box[2] + dx, box[3] + dy];
  }

  #up(event) {
    this.pointers.delete(event.pointerId);
    const { drag } = this;
    this.drag = null;
    if (drag) this.#end(drag, event.type === 'pointerup');
    this.draw();
  }

  /** Ends a drag; its changes are kept even if a second finger or the system ends it, but then it creates nothing new. */
  #end(drag, wanted) {
    if (['corner', 'object'].includes(drag.kind) && drag.begun && this.photo.object) {
      this.#emit('reshaped', { box: sorted(this.photo.object.box), move: drag.kind === 'object' });
    } else if (drag.kind === 'point' && drag.begun) {
      this.#emit('movedpoint');
    } else if (drag.kind === 'brush' && drag.begun) {
      this.#emit('brushed');
    } else if (drag.kind === 'box' && drag.begun && wanted) {
      this.#emit('addbox', { box: sorted(drag.box) });
    } else if (['pan', 'object', 'brush'].includes(drag.kind) && !drag.moved && wanted) {
      this.#click(this.#inPhoto(drag.start));
    }
  }

  #click(point) {
    if (this.tool === 'select') this.#emit('select', { number: this.#objectAt(point) });
    else if (this.#isInside(point)) this.#emit(CLICKED[this.tool], { point });
  }

  #wheel(event) {
    if (!this.photo) return;
    event.preventDefault();
    const view = this.#inView(event);
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015));
    const number = this.tool === 'point' ? this.#pointAt(this.#inPhoto(view)) : -1;
    if (number >= 0) this.#emit('sizepoint', { number, factor });
    else if (this.tool === 'brush' && !event.ctrlKey) this.#emit('sizebrush', { factor });
    else this.zoom(this.scale * factor, ...view);
  }

  #menu(event) {
    if (!this.photo || this.tool !== 'point') return;
    event.preventDefault();
    const number = this.#pointAt(this.#inPhoto(this.#inView(event)));
    if (number >= 0) this.#emit('removepoint', { number });
  }
}

function cornersOf([x0, y0, x1, y1]) {
  return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
}

function sorted([x0, y0, x1, y1]) {
  return [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
}

/** The outline of an object; without one the ellipse in its box. */
function pathOf({ box: [x0, y0, x1, y1], outline }) {
  const path = new Path2D();
  for (const polygon of outline ?? []) {
    polygon.forEach(([x, y], number) => (number ? path.lineTo(x, y) : path.moveTo(x, y)));
    path.closePath();
  }
  if (!outline?.length) {
    path.ellipse((x0 + x1) / 2, (y0 + y1) / 2, Math.abs(x1 - x0) / 2, Math.abs(y1 - y0) / 2, 0, 0, 2 * Math.PI);
  }
  return path;
}
