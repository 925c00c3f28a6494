// Ties the page together: what is clicked becomes a step of the photo's edit, and each step asks for a new picture.

import * as api from './api.js';
import { css } from './colors.js';
import { ClassMap, Palette, pngOf } from './map.js';
import { Photo, fromFile, toFile } from './photo.js';
import { View } from './view.js';

const element = (id) => document.getElementById(id);
const UPLOADS_AT_ONCE = 2;
const VARIANTS = 3;
const FULL_AFTER = 500; // milliseconds without a change

const view = new View(element('canvas'));
const photos = [];
const labels = {}; // {label: colour}, "use in the other photos"
let about = {};
let palette = null; // of the map's classes
let painted = 0; // the class that is painted on the map
let current = null;
let chosen = false; // whether the user chose the current photo
let seed = 0;

// --- status ---

let jobs = 0;
let notes = []; // messages that stay until the next action
let wrong = false; // whether one of them is an error

function tell(text) {
  element('status').textContent = [text, ...notes].filter(Boolean).join(' · ');
  element('status').classList.toggle('wrong', wrong);
}

/** Runs an action while the progress bar shows; reports its errors and then returns undefined. */
async function working(action, text = '') {
  if (!jobs++) [notes, wrong] = [[], false];
  if (text) tell(text);
  show();
  try {
    return await action();
  } catch (error) {
    if (error.name === 'AbortError' || error.status === 409) return;
    notes.push(error.message);
    wrong = true;
  } finally {
    if (!--jobs) tell('');
    show();
  }
  function show() {
    element('progress').hidden = !jobs;
    document.body.setAttribute('aria-busy', String(jobs > 0));
  }
}

api.tellBusy((detail) => tell(detail));

// --- photos ---

async function add(files) {
  const waiting = [...files];
  const total = waiting.length;
  const next = async () => {
    for (let file; (file = waiting.shift()); ) {
      const order = taken++;
      tell(`${total - waiting.length} of ${total}: ${file.name}`);
      await working(async () => take(await api.upload(file), order));
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, next));
}

let taken = 0; // how many files were chosen so far; the album keeps their order

function take(answer, order = taken++) {
  const photo = Object.assign(new Photo(answer), { order });
  for (const each of photo.edit.objects) each.color = labels[each.label] ?? null;
  photos.push(photo);
  photos.sort((one, other) => one.order - other.order);
  drawAlbum();
  // The first one is shown, unless the user has chosen another one meanwhile.
  if (!current || (!chosen && photo === photos[0])) choose(photo);
  else refresh(photo);
}

async function choose(photo) {
  current = photo;
  element('toolbar').hidden = element('panel').hidden = element('comparing').hidden = !photo;
  element('empty').hidden = Boolean(photo);
  view.show(photo);
  drawAlbum();
  drawPanel();
  if (!photo) return;
  showMap();
  if (!photo.picture) await refresh(photo);
}

/** Requests the picture of a photo with its current edit; a pending request is aborted. */
async function refresh(photo) {
  photo.abort?.abort();
  const { signal } = (photo.abort = new AbortController());
  clearTimeout(photo.timer);
  await working(async () => {
    photo.gray ??= await createImageBitmap(await api.gray(photo.id, 'preview'));
    if (photo === current) view.draw();
    const blob = await api.colorize(photo.id, photo.edit, 'preview', signal);
    const picture = await createImageBitmap(blob);
    if (signal.aborted) return;
    photo.put('picture', picture);
    URL.revokeObjectURL(photo.thumbnail);
    photo.thumbnail = URL.createObjectURL(blob);
    drawAlbum();
    if (photo === current) {
      view.draw();
      wantFull();
    }
  });
}

/** Fetches the full-size picture if the view shows more detail than the preview has. */
function wantFull() {
  const photo = current;
  if (!photo?.picture || photo.fullPicture || photo.picture.width >= photo.width) return;
  if (photo.fetching === photo.edit) return;
  if (view.density <= (1.3 * photo.picture.width) / photo.width) return;
  clearTimeout(photo.timer);
  photo.timer = setTimeout(() => fetchFull(photo), FULL_AFTER);
}

async function fetchFull(photo) {
  if (photo !== current) return;
  const { edit } = photo;
  const { signal } = photo.abort;
  photo.fetching = edit;
  await working(async () => {
    for (const other of photos) if (other !== photo) ['fullGray', 'fullPicture'].forEach((name) => other.put(name, null));
    photo.fullGray ??= await createImageBitmap(await api.gray(photo.id, 'full'));
    const picture = await createImageBitmap(await api.colorize(photo.id, edit, 'full', signal));
    if (photo.edit === edit) photo.put('fullPicture', picture);
    else picture.close();
    view.draw();
  }, 'fetching the full size …');
  if (photo.fetching === edit) photo.fetching = null;
}

/** Makes a step of a photo's edit. */
function step(change, photo = current) {
  photo.step(change);
  edited(photo);
}

function edited(photo = current) {
  if (photo === current) {
    drawPanel();
    view.draw();
    showMap();
  }
  refresh(photo);
}

/** Undoes or redoes a step, but not one that is still being dragged. */
function travel(way) {
  if (!current || view.drag) return;
  current[way]();
  edited();
}

// --- the panel ---

function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function dot(color) {
  const made = make('span', { className: 'dot' });
  made.style.background = css(color);
  return made;
}

function nameOf(each, number) {
  return `${number + 1}. ${each.label ?? 'object'}`;
}

function drawPanel() {
  if (!current) return;
  const { edit, selected } = current;
  element('undo').disabled = !current.past.length;
  element('redo').disabled = !current.future.length;
  element('objects').replaceChildren(...edit.objects.map(objectRow));
  if (!edit.objects.length) element('objects').append(make('li', { textContent: 'none found; draw one' }));
  element('chosen').hidden = !current.object;
  if (current.object) {
    element('chosen-name').textContent = `Colour of ${nameOf(current.object, selected)}`;
    element('spread').hidden = !current.object.label || photos.length < 2 || current.object.color === null;
    const shown = css(current.object.color);
    if (shown.startsWith('#')) element('color').value = shown;
    drawSuggestions();
  }
  const ofCaption = `${current.id} ${edit.caption}`;
  if (element('caption').dataset.of !== ofCaption) {
    // What somebody has begun to write stays until another caption takes its place.
    element('caption').dataset.of = ofCaption;
    element('caption').value = edit.caption ?? '';
  }
  element('heard').textContent = current.heard;
  element('free-map').disabled = edit.map === null;
  element('saturation').value = edit.saturation;
  element('strength').value = edit.strength;
  element('clear-points').disabled = !edit.points.length;
}

function objectRow(each, number) {
  const toggle = make('input', { type: 'checkbox', checked: each.on, ariaLabel: `use ${nameOf(each, number)}` });
  toggle.addEventListener('change', () => step((edit) => (edit.objects[number].on = toggle.checked)));
  const button = make('button', { ariaPressed: String(number === current.selected) }, dot(each.color), nameOf(each, number));
  button.addEventListener('click', () => select(number));
  return make('li', {}, toggle, button);
}

function select(number) {
  current.selected = number;
  drawPanel();
  view.draw();
}

async function drawSuggestions() {
  const [photo, { object }] = [current, current];
  const group = element('suggestions');
  const key = JSON.stringify([photo.id, object.box, object.outline]);
  if (group.dataset.key === key) return;
  group.dataset.key = key;
  group.replaceChildren();
  if (!about.suggestions) return;
  const found = await working(() => api.suggest(photo.id, { ...object, color: null, on: true }, photo.size));
  if (group.dataset.key !== key) return;
  if (!found) group.dataset.key = ''; // to be asked again
  for (const { color, share } of found ?? []) {
    const button = make('button', { title: `${Math.round(100 * share)} %`, ariaLabel: `${color}, ${Math.round(100 * share)} %` });
    button.style.background = color;
    button.addEventListener('click', () => paint(color));
    group.append(button);
  }
}

function paint(color) {
  if (!current?.object) return; // the browser's own picker may outlive the choice of an object
  const number = current.selected;
  step((edit) => (edit.objects[number].color = color));
}

// In each photo this is a step of its own, which can be undone there.
function spread() {
  const { label, color } = current.object;
  labels[label] = color;
  for (const photo of photos) {
    if (photo === current || !photo.edit.objects.some((each) => each.label === label)) continue;
    step((edit) => edit.objects.forEach((each) => each.label === label && (each.color = color)), photo);
  }
  notes.push(`every ${label} in the other photos has this colour now, and in photos added later`);
  tell('');
}

async function say() {
  const text = element('caption').value.trim() || null;
  const photo = current;
  if (text !== photo.edit.caption) step((edit) => (edit.caption = text));
  if (!text) return;
  const { edit } = photo;
  const heard = await working(() => api.caption(photo.id, edit));
  if (!heard || photo.edit.caption !== text || photo.edit.objects.length !== edit.objects.length) return;
  photo.words = heard.words;
  const used = Object.values(heard.words);
  const missed = heard.not_understood.map(({ words, reason }) => `“${words}”: ${reason}`);
  photo.heard = [used.length ? `Used: ${used.join(', ')}.` : '', ...missed].filter(Boolean).join(' ');
  drawPanel();
  view.draw();
}

async function showVariants() {
  const [photo, { edit }] = [current, current];
  const choices = about.presets.map((preset) => [preset, (next) => (next.preset = preset)]);
  const group = element('variants');
  for (const old of group.querySelectorAll('img')) URL.revokeObjectURL(old.src);
  group.replaceChildren();
  await working(async () => {
    const others = edit.objects.some((each) => each.on) && about.suggestions;
    for (const [number, colors] of (others ? await api.variants(photo.id, edit, VARIANTS, ++seed) : []).entries()) {
      const change = (next) => next.objects.forEach((each, own) => (each.color = colors[own] ?? each.color));
      choices.push([`sample ${number + 1}`, change]);
    }
    for (const [name, change] of choices) {
      const next = structuredClone(edit);
      change(next);
      const picture = make('img', { alt: '', src: URL.createObjectURL(await api.glimpse(photo.id, next)) });
      const button = make('button', {}, picture, name);
      button.addEventListener('click', () => photo === current && step(change));
      group.append(button);
    }
  }, 'looking for variants …');
}

// --- the album ---

function drawAlbum() {
  element('album').hidden = !photos.length;
  element('album').replaceChildren(
    ...photos.map((photo) => {
      const picture = photo.thumbnail ? make('img', { alt: '', src: photo.thumbnail }) : make('div', { className: 'blank' });
      const button = make('button', { title: photo.name }, picture, make('span', { textContent: photo.name }));
      if (photo === current) button.setAttribute('aria-current', 'true');
      button.addEventListener('click', () => {
        chosen = true;
        choose(photo);
      });
      return button;
    }),
  );
}

function save(blob, name) {
  const link = make('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

async function download() {
  const [photo, format] = [current, element('format').value];
  const blob = await working(() => api.result(photo.id, photo.edit, format), 'writing the file …');
  if (blob) save(blob, `${photo.name.replace(/\.[^.]*$/, '')}-coloured.${format}`);
}

function saveEdits() {
  save(new Blob([toFile(photos, labels)], { type: 'application/json' }), 'edits.json');
  const names = photos.map(({ name }) => name);
  const twice = names.find((name, number) => names.indexOf(name) !== number);
  if (!twice) return;
  notes.push(`several photos are called ${twice}; the file has the edit of the last one`);
  tell('');
}

async function loadEdits(file) {
  await working(async () => {
    const content = JSON.parse(await file.text());
    if (content.edits !== 1) throw new Error(`${file.name} is not a file of edits`);
    Object.assign(labels, content.labels);
    let count = 0;
    for (const photo of photos) {
      const edit = fromFile(content, photo);
      if (!edit) continue;
      count++;
      step((next) => Object.assign(next, edit), photo);
    }
    if (!count) throw new Error(`${file.name} names none of these photos`);
  });
}

async function removeCurrent() {
  const photo = current;
  if (!photos.includes(photo)) return; // it is being removed
  photos.splice(photos.indexOf(photo), 1);
  photo.abort?.abort();
  clearTimeout(photo.timer);
  await working(() => api.remove(photo.id));
  URL.revokeObjectURL(photo.thumbnail);
  if (photo === current) await choose(photos[0] ?? null);
  else drawAlbum();
}

async function openFolder() {
  const names = (await working(api.listing)) ?? [];
  element('listed').replaceChildren(
    ...names.map((name) => {
      const button = make('button', { textContent: name });
      button.addEventListener('click', () => working(async () => take(await api.openListed(name)), name));
      return make('li', {}, button);
    }),
  );
  element('listing').showModal();
}

// --- the map of classes ---

const MAP_TOOLS = ['brush', 'fill', 'pick'];

/** Loads the current edit's map onto the canvas, if a map tool is in use. */
async function showMap() {
  const photo = current;
  const source = photo?.edit.map;
  if (!photo || !view.onMap || photo.map?.source === source) return;
  await working(async () => {
    const map = await ClassMap.read(source === null ? await api.map(photo.id) : pngOf(source), palette, photo, source);
    if (photo.edit.map === source) photo.map = map;
    view.draw();
  });
}

/** The loaded map, if it is that of the current edit and can be painted on. */
function mapToPaint() {
  const { map, edit } = current;
  return map?.source === edit.map ? map : null;
}

function keepMap() {
  const { map } = current;
  map.source = map.toBase64();
  step((edit) => (edit.map = map.source));
}

function drawClasses() {
  element('map-classes').replaceChildren(
    ...about.map_classes.map(({ name, color }, number) => {
      const button = make('button', {}, dot(color), name);
      button.addEventListener('click', () => paintClass(number));
      return make('li', {}, button);
    }),
  );
  paintClass(painted);
}

function paintClass(number) {
  painted = number;
  const { name, color } = about.map_classes[number];
  element('painted').lastElementChild.textContent = name;
  for (const each of document.querySelectorAll('[data-tool] .dot')) each.style.background = color;
  for (const [at, button] of document.querySelectorAll('#map-classes button').entries()) button.ariaPressed = String(at === number);
}

element('class-search').addEventListener('input', (event) => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const [number, row] of [...element('map-classes').children].entries()) {
    row.hidden = !about.map_classes[number].name.includes(wanted);
  }
});
element('class-search').addEventListener('keydown', (event) => {
  if (event.key === 'Enter') element('map-classes').querySelector('li:not([hidden]) button')?.click();
});

view.addEventListener('brush', ({ detail: { from, to } }) => mapToPaint()?.brush(from, to, view.radius, painted));
view.addEventListener('brushed', () => mapToPaint() && keepMap());
view.addEventListener('dab', ({ detail: { point } }) => {
  const map = mapToPaint();
  if (!map) return;
  map.brush(point, point, view.radius, painted);
  keepMap();
});
view.addEventListener('fill', ({ detail: { point } }) => mapToPaint()?.fill(point, painted) && keepMap());
view.addEventListener('pick', ({ detail: { point } }) => {
  const map = mapToPaint();
  if (!map) return;
  paintClass(map.pick(point));
  use('brush');
});
view.addEventListener('sizebrush', ({ detail: { factor } }) => {
  const slider = element('brush-size');
  slider.value = view.brushSize * factor;
  view.brushSize = Number(slider.value);
  view.draw();
});

// --- buttons ---

const clicks = {
  spread, say, download,
  undo: () => travel('undo'),
  redo: () => travel('redo'),
  'free-map': () => step((edit) => (edit.map = null)),
  fit: () => view.fit(),
  whole: () => view.zoom(1 / devicePixelRatio),
  gray: () => paint('gray'),
  free: () => paint(null),
  delete: removeObject,
  'clear-points': () => step((edit) => (edit.points = [])),
  'show-variants': showVariants,
  'save-edits': saveEdits,
  // The second click of two would take the next photo along, once the first one is gone.
  remove: (event) => event.detail < 2 && removeCurrent(),
  folder: openFolder,
  close: () => element('listing').close(),
};
for (const [id, action] of Object.entries(clicks)) element(id).addEventListener('click', action);

function removeObject() {
  const number = current.selected;
  current.selected = null;
  step((edit) => edit.objects.splice(number, 1));
}

element('files').addEventListener('change', (event) => {
  add(event.target.files);
  event.target.value = '';
});
element('load-edits').addEventListener('change', (event) => {
  if (event.target.files[0]) loadEdits(event.target.files[0]);
  event.target.value = '';
});
element('color').addEventListener('change', (event) => paint(event.target.value));
element('outlines').addEventListener('change', (event) => {
  view.outlines = event.target.checked;
  view.draw();
});
for (const [id, setting] of [['map-opacity', 'mapOpacity'], ['brush-size', 'brushSize'], ['split', 'split']]) {
  element(id).addEventListener('input', (event) => {
    view[setting] = Number(event.target.value);
    view.draw();
  });
}
for (const name of ['saturation', 'strength']) {
  element(name).addEventListener('change', (event) => step((edit) => (edit[name] = Number(event.target.value))));
}
const tools = [...document.querySelectorAll('[data-tool]')];
for (const button of tools) button.addEventListener('click', () => use(button.dataset.tool));

function use(tool) {
  view.tool = tool;
  for (const each of tools) each.ariaPressed = String(each.dataset.tool === tool);
  view.draw();
  showMap();
}

for (const name of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(name, (event) => {
    event.preventDefault();
    element('drop').classList.toggle('over', name === 'dragover');
    if (name === 'drop') add(event.dataTransfer.files);
  });
}

document.addEventListener('keydown', (event) => {
  if (!current || event.target.matches('textarea, select, input:not([type=checkbox], [type=range], [type=color])')) return;
  const key = event.key.toLowerCase();
  const control = event.ctrlKey || event.metaKey;
  if (control && key === 'z') travel(event.shiftKey ? 'redo' : 'undo');
  else if (control && key === 'y') travel('redo');
  else if (control) return;
  else if (key === 'delete' && current.object) removeObject();
  else if (key === '+' || key === '=') view.zoom(view.scale * 1.25);
  else if (key === '-') view.zoom(view.scale / 1.25);
  else if (key === '0') view.fit();
  else if (key === '1') view.zoom(1 / devicePixelRatio);
  else return;
  event.preventDefault();
});

// --- events of the canvas ---

view.addEventListener('moved', wantFull);
view.addEventListener('select', ({ detail }) => select(detail.number));
view.addEventListener('split', ({ detail }) => {
  view.split = element('split').value = detail.split;
  view.draw();
});
view.addEventListener('addbox', async ({ detail: { box } }) => {
  const photo = current;
  const object = { box: inside(box, photo), outline: [], label: null, color: null, on: true };
  if (isTiny(object.box)) return;
  photo.step((edit) => edit.objects.push(object));
  photo.selected = photo.edit.objects.length - 1;
  use('select');
  await outline(photo, object);
});
view.addEventListener('reshape', ({ detail: { box, first, move } }) => {
  const { selected, object } = current;
  const [dx, dy] = [box[0] - object.box[0], box[1] - object.box[1]];
  const change = (edit) => {
    const each = edit.objects[selected];
    each.box = box;
    each.outline = move ? each.outline.map((polygon) => polygon.map(([x, y]) => [x + dx, y + dy])) : [];
  };
  first ? current.step(change) : current.goOn(change);
});
view.addEventListener('reshaped', async ({ detail: { box } }) => {
  const photo = current;
  const kept = inside(box, photo);
  if (isTiny(kept)) {
    // Dragged out of the photo, or to a line.
    photo.takeBack();
    edited(photo);
    return;
  }
  photo.goOn((edit) => Object.assign(edit.objects[photo.selected], { box: kept, outline: [] }));
  await outline(photo, photo.object);
});

/** Finds the outline of an object that has none and adds it to the last step, unless that was undone meanwhile. */
async function outline(photo, object) {
  const found = await working(() => api.outline(photo.id, object, photo.size));
  const same = (each) => !each.outline.length && String(each.box) === String(object.box);
  if (found) photo.goOn((edit) => Object.assign(edit.objects.find(same) ?? {}, { outline: found }));
  edited(photo);
}
view.addEventListener('addpoint', ({ detail: { point } }) => {
  const radius = Math.max(2, Math.round(Math.max(...current.size) / 200));
  step((edit) => edit.points.push({ point, color: element('point-color').value, radius }));
});
view.addEventListener('movepoint', ({ detail: { number, point, first } }) => {
  if (!isInside(point, current) || !current.edit.points[number]) return;
  const change = (edit) => (edit.points[number].point = point);
  first ? current.step(change) : current.goOn(change);
});
view.addEventListener('movedpoint', () => edited());
view.addEventListener('removepoint', ({ detail: { number } }) => step((edit) => edit.points.splice(number, 1)));
let sizing = {}; // the photo whose point is being sized
view.addEventListener('sizepoint', ({ detail: { number, factor } }) => {
  const photo = current;
  const change = (edit) => (edit.points[number].radius = Math.min(200, Math.max(1, edit.points[number].radius * factor)));
  sizing.photo === photo ? photo.goOn(change) : photo.step(change);
  clearTimeout(sizing.timer);
  const timer = setTimeout(() => ((sizing = {}), edited(photo)), 300);
  sizing = { photo, timer };
  view.draw();
});

function isInside([x, y], { width, height }) {
  return x >= 0 && y >= 0 && x < width && y < height;
}

function isTiny([x0, y0, x1, y1]) {
  return x1 - x0 < 2 || y1 - y0 < 2;
}

function inside([x0, y0, x1, y1], { width, height }) {
  const [across, down] = [(x) => Math.min(width, Math.max(0, x)), (y) => Math.min(height, Math.max(0, y))];
  return [across(x0), down(y0), across(x1), down(y1)];
}

// --- start ---

await working(async () => {
  about = await api.health();
  element('folder').hidden = !about.root;
  element('points').hidden = document.querySelector('[data-tool=point]').hidden = !about.points;
  element('map').hidden = !about.map_classes.length;
  for (const each of tools) if (MAP_TOOLS.includes(each.dataset.tool)) each.hidden = !about.map_classes.length;
  palette = new Palette(about.map_classes);
  if (about.map_classes.length) drawClasses();
});
