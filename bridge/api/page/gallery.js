/** The captions of this tab, and many photos over one WebSocket. */
import { exported } from "./archive.js";
import { byId, download, el, plural } from "./dom.js";
import { titleOf } from "./options.js";
import { nameOf } from "./run.js";

const TYPES = { json: "application/json", jsonl: "application/x-ndjson", csv: "text/csv", zip: "application/zip" };
const THUMBNAIL = 320;
const PARALLEL = 4;

/** @type {{photo: string, caption: any, card: HTMLElement}[]} */
let entries = [];
const newBatch = () => ({
  ...{ waiting: [], failed: [], total: 0, done: 0, workers: 0 },
  ...{ socket: /** @type {any} */ (null), stop: new AbortController() },
});
/** The photos that are captioned now, until all have ended. */
let batch = newBatch();
/** Whether captions of several photos were not exported yet. */
let unsaved = false;

/** Connect the buttons of the gallery, once. */
export function connectGallery() {
  byId("filter").oninput = filter;
  byId("stop").onclick = () => {
    batch.waiting.length = 0;
    batch.stop.abort();
  };
  addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
  byId("empty-gallery").onclick = () => {
    for (const { card } of entries) URL.revokeObjectURL(card.querySelector("img")?.src);
    entries = [];
    unsaved = false;
    byId("cards").replaceChildren();
    count();
  };
  byId("export").onchange = ({ target }) => {
    const shown = entries.filter(({ card }) => !card.hidden);
    download(`captions.${target.value}`, exported(target.value, shown), TYPES[target.value]);
    target.value = "";
    unsaved = shown.length < entries.length;
  };
  count();
}

/** Add a caption. @param {File} photo @param {any} caption */
export async function addCaption(photo, caption) {
  const card = el(
    "li.card",
    {},
    el("h2.clip", {}, photo.name),
    el("p.muted.small", {}, `${titleOf(caption.perspective)} · ${caption.model}`),
    el("p.text", {}, caption.rendered),
    el("details", {}, el("summary", {}, "JSON"), el("pre", {}, JSON.stringify(caption.result, null, 2))),
  );
  entries.push({ photo: photo.name, caption, card });
  byId("cards").prepend(card);
  count();
  filter();
  const small = await thumbnail(photo);
  if (small) card.prepend(el("img", { src: URL.createObjectURL(small), alt: "" }));
}

async function thumbnail(photo) {
  try {
    const full = await createImageBitmap(photo);
    const scale = Math.min(1, THUMBNAIL / Math.max(full.width, full.height));
    const canvas = new OffscreenCanvas(Math.ceil(full.width * scale), Math.ceil(full.height * scale));
    canvas.getContext("2d").drawImage(full, 0, 0, canvas.width, canvas.height);
    full.close();
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
  } catch {
    return null; // a format that the browser does not decode
  }
}

function count() {
  byId("count").textContent = String(entries.length);
  byId("export").disabled = !entries.length;
  byId("gallery").classList.toggle("nothing", !entries.length);
}

function filter() {
  const sought = byId("filter").value.toLowerCase();
  for (const { photo, caption, card } of entries) {
    const text = `${photo} ${caption.perspective} ${caption.model} ${caption.rendered} ${JSON.stringify(caption.result)}`;
    card.hidden = !text.toLowerCase().includes(sought);
  }
}

/**
 * Caption several photos over one WebSocket, some at a time, and show the progress. Photos that come while others are
 * captioned join them.
 *
 * @param {import("./bridge.js").Bridge} bridge
 * @param {{photos: File[], perspectives: any[], options: any}} request
 */
export function captionAll(bridge, { photos, ...request }) {
  const jobs = photos.map((photo) => ({ photo, request }));
  captionJobs(bridge, jobs);
}

function captionJobs(bridge, jobs) {
  if (!batch.total) {
    batch.socket = bridge.connect({ concurrency: PARALLEL });
    byId("batch").hidden = byId("stop").hidden = false;
    byId("retry").hidden = true;
    byId("failures").replaceChildren();
  }
  batch.waiting.push(...jobs);
  batch.total += jobs.length;
  report(batch);
  while (batch.workers < PARALLEL && batch.waiting.length) void work(bridge, batch);
}

async function work(bridge, current) {
  current.workers += 1;
  for (let job = current.waiting.shift(); job; job = current.waiting.shift()) await captionOne(job, current);
  current.workers -= 1;
  if (current.workers) return;
  current.socket.close();
  if (current.stop.signal.aborted) byId("batch-status").textContent += ". Stopped.";
  byId("stop").hidden = true;
  byId("retry").hidden = !current.failed.length;
  byId("retry").onclick = () => captionJobs(bridge, current.failed);
  batch = newBatch();
}

function report({ done, total, failed }) {
  Object.assign(byId("progress"), { max: total, value: done });
  byId("batch-status").textContent =
    `${done} of ${plural(total, "photo")}${failed.length ? `, ${plural(failed.length, "failure")}` : ""}`;
}

/** Caption the photo of a job, show the captions and errors, and count it unless it was stopped. */
async function captionOne(job, current) {
  const { captions, errors } = await ask(current.socket, job, current.stop.signal);
  for (const caption of captions) void addCaption(job.photo, caption);
  if (captions.length) unsaved = true;
  else if (!errors.length) return;
  for (const { detail, message } of errors) {
    byId("failures").append(el("li", {}, el("b", {}, job.photo.name), ` ${detail ?? message}`));
  }
  if (errors.length) current.failed.push(job);
  current.done += 1;
  report(current);
}

async function ask(socket, { photo, request: { perspectives, options } }, signal) {
  try {
    const all = { ...options, signal };
    if (perspectives.length === 1) return { captions: [await socket.caption(photo, perspectives[0], all)], errors: [] };
    const { results, errors, synthesis } = await socket.analyze(photo, perspectives, all);
    const captions = [...perspectives.map((each) => results[nameOf(each)]), synthesis].filter(Boolean);
    return { captions, errors: Object.values(errors) };
  } catch (error) {
    return { captions: [], errors: signal.aborted ? [] : [error] };
  }
}
