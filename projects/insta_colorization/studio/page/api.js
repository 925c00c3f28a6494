// Requests to the server. Each page is a session of its own, so that two tabs on one photo do not disturb each other.

const session = [...crypto.getRandomValues(new Uint8Array(12))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const MOST_ATTEMPTS = 20;
let sequence = 0;

export class ApiError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

/** Called with the server's message while it is busy or restarting. */
export let onBusy = () => {};
export function tellBusy(listener) {
  onBusy = listener;
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** Sends a request and repeats it while the server is busy; `path` may be a function, called for each attempt. */
async function ask(path, options = {}) {
  for (let attempt = 1; ; attempt++) {
    let response;
    try {
      response = await fetch(typeof path === 'function' ? path() : path, options);
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, 'the studio does not answer; is it still running?');
    }
    if (response.ok) return response;
    const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
    if (response.status !== 503 || attempt >= MOST_ATTEMPTS) throw new ApiError(response.status, detail);
    onBusy(detail);
    await pause(Number(response.headers.get('retry-after')) || 2, options.signal);
  }
}

function json(content, signal) {
  return { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(content), signal };
}

export const health = async () => (await ask('/api/health')).json();
export const listing = async () => (await ask('/api/folder')).json();
export const openListed = async (name) => (await ask('/api/folder', json({ name }))).json();

export async function upload(file) {
  const body = new FormData();
  body.append('file', file, file.name);
  return (await ask('/api/photos', { method: 'POST', body })).json();
}

const of = (id, what) => `/api/photos/${id}/${what}`;

export async function gray(id, size) {
  return (await ask(of(id, `gray?size=${size}`))).blob();
}

/** The newest picture of a photo: the server drops this page's older requests for it. */
export async function colorize(id, edit, size, signal) {
  const path = () => of(id, `colorize?size=${size}&session=${session}&sequence=${++sequence}`);
  return (await ask(path, json(edit, signal))).blob();
}

/** A picture of another edit, independent of the newest one. */
export async function glimpse(id, edit, signal) {
  return (await ask(of(id, 'colorize'), json(edit, signal))).blob();
}

export async function suggest(id, object, size) {
  return (await ask(of(id, 'suggest'), json({ object, size }))).json();
}

export async function outline(id, object, size) {
  return (await (await ask(of(id, 'outline'), json({ object, size }))).json()).outline;
}

export async function caption(id, edit) {
  return (await ask(of(id, 'caption'), json(edit))).json();
}

export async function variants(id, edit, count, seed) {
  return (await (await ask(of(id, `variants?count=${count}&seed=${seed}`), json(edit))).json()).variants;
}

/** The map of classes that colours follow if an edit has none. */
export async function map(id) {
  return (await ask(of(id, 'map'))).blob();
}

export async function result(id, edit, format) {
  return (await ask(of(id, `result?format=${format}`), json(edit))).blob();
}

export const remove = (id) => ask(`/api/photos/${id}`, { method: 'DELETE' });
