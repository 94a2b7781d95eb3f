/** The captions of this tab, and many photos over one WebSocket. */
import { exported } from "./archive.js";
import { byId, download, el, plural } from "./dom.js";
import { titleOf, variablesOf } from "./options.js";
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
/** Opens a WebSocket with the current key. @type {(options: object) => any} */
let connect;

/** Connect the buttons of the gallery, once. @param {typeof connect} open opens a WebSocket to the bridge */
export function connectGallery(open) {
  connect = open;
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
    unsaved &&= shown.length < entries.length;
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
 * @param {{photo: File, request: {perspectives: any[], options: any, missing?: string[]}}[]} jobs
 */
export function captionAll(jobs) {
  if (!batch.total) {
    batch.socket = connect({ concurrency: PARALLEL });
    byId("batch").hidden = byId("stop").hidden = false;
    if (document.activeElement === byId("retry")) byId("stop").focus();
    byId("retry").hidden = true;
    byId("failures").replaceChildren();
  }
  batch.waiting.push(...jobs);
  batch.total += jobs.length;
  report(batch);
  while (batch.workers < PARALLEL && batch.waiting.length) void work(batch);
}

async function work(current) {
  current.workers += 1;
  for (let job = current.waiting.shift(); job; job = current.waiting.shift()) await captionOne(job, current);
  current.workers -= 1;
  if (current.workers) return;
  current.socket.close();
  if (current.stop.signal.aborted) byId("batch-status").textContent += ". Stopped.";
  const focused = document.activeElement === byId("stop");
  byId("stop").hidden = true;
  byId("retry").hidden = !current.failed.length;
  if (focused) byId(current.failed.length ? "retry" : "more").focus();
  byId("retry").onclick = () => captionAll(current.failed);
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
  const failed = Object.keys(errors);
  if (captions.length) unsaved = true;
  else if (!failed.length) return;
  for (const { detail, message } of Object.values(errors)) {
    byId("failures").append(el("li", {}, el("b", {}, job.photo.name), ` ${detail ?? message}`));
  }
  if (failed.length) current.failed.push(captions.length ? { ...job, request: remaining(job.request, failed) } : job);
  current.done += 1;
  report(current);
}

/** Return a request for the perspectives that failed; a synthesizer needs the captions of all of them again. */
function remaining(request, failed) {
  if (failed.includes(request.options.synthesize)) return { ...request, missing: failed };
  const perspectives = request.perspectives.filter((each) => failed.includes(nameOf(each)));
  const { synthesize: _, variables = {}, ...options } = request.options;
  const known = variablesOf(perspectives).map(({ name }) => name);
  options.variables = Object.fromEntries(Object.entries(variables).filter(([name]) => known.includes(name)));
  return { perspectives, options };
}

/** Return the missing captions, and the errors by perspective; one error of no perspective if all failed. */
async function ask(socket, { photo, request: { perspectives, options, missing } }, signal) {
  try {
    const all = { ...options, signal };
    if (perspectives.length === 1) return { captions: [await socket.caption(photo, perspectives[0], all)], errors: {} };
    const { results, errors, synthesis } = await socket.analyze(photo, perspectives, all);
    const captions = [...perspectives.map((each) => results[nameOf(each)]), synthesis].filter(Boolean);
    const isMissing = (name) => missing?.includes(name) ?? true;
    const failed = Object.entries(errors).filter(([name]) => isMissing(name));
    return { captions: captions.filter((each) => isMissing(each.perspective)), errors: Object.fromEntries(failed) };
  } catch (error) {
    return { captions: [], errors: signal.aborted ? {} : { "": error } };
  }
}
