// The canvas: the photo before and after, its objects and points, and what mouse, touch and pen do to them.
// Photo coordinates are x, y in pixels of the whole photo; view coordinates are CSS pixels of the canvas.

import { css } from './colors.js';

const NEAR = 12; // CSS pixels
const CLICK = 5;
const MOST_SCALE = 16;
const MARK = '#ffb454';

export class View extends EventTarget {
  tool = 'select';
  outlines = true;
  split = 0; // where after begins, as a share of the visible photo
  pointColor = '#4a7fb5';

  constructor(canvas) {
    super();
    this.canvas = canvas;
    this.context = canvas.getContext('2d');
    this.photo = null;
    this.scale = 1;
    this.x = this.y = 0;
    this.pointers = new Map();
    this.drag = null;
    new ResizeObserver(() => this.#resize()).observe(canvas);
    canvas.addEventListener('pointerdown', (event) => this.#down(event));
    canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener('wheel', (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener('contextmenu', (event) => this.#menu(event));
  }

  show(photo) {
    this.photo = photo;
    this.fit();
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.photo || !width) return;
    this.scale = Math.min(width / this.photo.width, height / this.photo.height, 4);
    this.x = (width - this.photo.width * this.scale) / 2;
    this.y = (height - this.photo.height * this.scale) / 2;
    this.#moved();
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

  #moved() {
    this.draw();
    this.#emit('moved');
  }

  #resize() {
    const { canvas } = this;
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    this.fit();
    this.draw();
  }

  /** Where the line between before and after is, in the view. */
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
    context.setTransform(this.density, 0, 0, this.density, this.x * ratio, this.y * ratio);
    context.imageSmoothingEnabled = this.density < 3;
    context.imageSmoothingQuality = 'high';
    const after = photo.fullPicture ?? photo.picture;
    const from = (this.#line - this.x) / this.scale;
    if (!after || this.split > 0) context.drawImage(gray, 0, 0, photo.width, photo.height);
    if (after) {
      context.save();
      context.beginPath();
      context.rect(from, 0, photo.width - from, photo.height);
      context.clip();
      context.drawImage(after, 0, 0, photo.width, photo.height);
      context.restore();
    }
    if (this.outlines) photo.edit.objects.forEach((each, number) => this.#paintObject(each, number));
    photo.edit.points.forEach((each) => this.#paintPoint(each));
    if (this.drag?.box) this.#paintBox(this.drag.box, true);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (after) this.#paintLine();
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

  // --- what is under the pointer ---

  #inView(event) {
    const area = this.canvas.getBoundingClientRect();
    return [event.clientX - area.left, event.clientY - area.top];
  }

  #inPhoto([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  #pointAt([x, y]) {
    const near = ({ point, radius }) => Math.hypot(point[0] - x, point[1] - y) <= Math.max(radius, NEAR / this.scale);
    return this.photo.edit.points.findLastIndex(near);
  }

  /** The smallest object whose outline, or else whose box, is around a point of the photo; null if there is none. */
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
      this.drag = { kind: 'pinch', ...this.#spread() };
      return;
    }
    if (event.button !== 0) return;
    this.drag = { start: view, at: view, ...this.#begin(view, event) };
  }

  #begin(view, event) {
    const at = this.#inPhoto(view);
    const corner = this.#cornerAt(at);
    if (this.tool === 'select' && corner >= 0) return { kind: 'corner', corner };
    if (this.photo.picture && Math.abs(view[0] - this.#line) <= NEAR) return { kind: 'split' };
    if (this.tool === 'box') return { kind: 'box', box: [...at, ...at] };
    if (this.tool === 'point') {
      const number = this.#pointAt(at);
      if (number >= 0) return { kind: 'point', number, fresh: true };
      if (at[0] < 0 || at[1] < 0 || at[0] >= this.photo.width || at[1] >= this.photo.height) return { kind: 'pan' };
      this.#emit('addpoint', { point: at });
      return { kind: 'point', number: this.photo.edit.points.length - 1, fresh: false };
    }
    const mouse = event.pointerType !== 'touch';
    const inside = mouse && this.photo.selected !== null && this.#objectAt(at) === this.photo.selected;
    return inside ? { kind: 'object', last: at } : { kind: 'pan' };
  }

  #spread() {
    const [[ax, ay], [bx, by]] = this.pointers.values();
    return { distance: Math.hypot(ax - bx, ay - by), middle: [(ax + bx) / 2, (ay + by) / 2] };
  }

  #move(event) {
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
      this.#emit('movepoint', { number: drag.number, point: at, first: first && drag.fresh });
    } else {
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
    if (!drag || drag.kind === 'pinch' || event.type === 'pointercancel') return;
    if (!drag.moved && ['pan', 'object'].includes(drag.kind)) {
      this.#emit('select', { number: this.#objectAt(this.#inPhoto(drag.start)) });
    } else if (drag.kind === 'box' && drag.moved) {
      this.#emit('addbox', { box: sorted(drag.box) });
    } else if (drag.begun && ['corner', 'object'].includes(drag.kind)) {
      this.#emit('reshaped', { box: sorted(this.photo.object.box), move: drag.kind === 'object' });
    } else if (drag.begun && drag.kind === 'point') {
      this.#emit('movedpoint');
    }
    this.draw();
  }

  #wheel(event) {
    if (!this.photo) return;
    event.preventDefault();
    const view = this.#inView(event);
    const factor = Math.exp(-event.deltaY * (event.deltaMode ? 0.03 : 0.0015));
    const number = this.tool === 'point' ? this.#pointAt(this.#inPhoto(view)) : -1;
    if (number >= 0) this.#emit('sizepoint', { number, factor });
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
