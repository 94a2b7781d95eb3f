/** The captions of this tab, and many photos over one WebSocket. */
import { exported } from "./archive.js";
import { byId, download, el, plural, set, words } from "./dom.js";
import { perspectives } from "./options.js";
import { nameOf } from "./run.js";

const TYPES = { json: "application/json", jsonl: "application/x-ndjson", csv: "text/csv", zip: "application/zip" };
const THUMBNAIL = 320;
const PARALLEL = 4;

/** @type {{photo: string, caption: any, card: HTMLElement}[]} */
let entries = [];
let stop = () => {};

/** Connect the buttons of the gallery, once. */
export function connectGallery() {
  byId("filter").oninput = filter;
  byId("stop").onclick = () => stop();
  byId("empty-gallery").onclick = () => {
    for (const { card } of entries) URL.revokeObjectURL(card.querySelector("img")?.src);
    entries = [];
    byId("cards").replaceChildren();
    count();
  };
  byId("export").onchange = ({ target }) => {
    const kind = target.value;
    if (kind)
      download(
        `captions.${kind}`,
        exported(
          kind,
          entries.filter(({ card }) => !card.hidden),
        ),
        TYPES[kind],
      );
    target.value = "";
  };
  count();
}

/** Add a caption. @param {File} photo @param {any} caption */
export async function addCaption(photo, caption) {
  const entry = { photo: photo.name, caption, card: card(photo.name, caption) };
  entries.push(entry);
  byId("cards").prepend(entry.card);
  count();
  filter();
  const small = await thumbnail(photo);
  if (small) entry.card.prepend(el("img", set({ src: URL.createObjectURL(small), alt: "" })));
}

function card(photo, caption) {
  const title = perspectives.get(caption.perspective)?.display_name ?? words(caption.perspective);
  return el(
    "li.card",
    el("h2.clip", photo),
    el("p.muted.small", `${title} · ${caption.model}`),
    el("p.text", caption.rendered),
    el("details", el("summary", "JSON"), el("pre", JSON.stringify(caption.result, null, 2))),
  );
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
 * Caption several photos over one WebSocket, some at a time, and show the progress.
 *
 * @param {import("./bridge.js").Bridge} bridge
 * @param {{photos: File[], perspectives: any[], options: any}} request
 */
export async function captionAll(bridge, { photos, perspectives: asked, options }) {
  stop();
  const abort = new AbortController();
  stop = () => abort.abort();
  const socket = bridge.connect({ concurrency: PARALLEL });
  const waiting = [...photos];
  let done = 0;
  let failed = 0;
  const report = () => {
    Object.assign(byId("progress"), { max: photos.length, value: done });
    byId("batch-status").textContent =
      `${done} of ${plural(photos.length, "photo")}${failed ? `, ${plural(failed, "failure")}` : ""}`;
  };
  const fail = (photo, error) => {
    failed += 1;
    byId("failures").append(el("li", el("b", photo.name), ` ${error.message}`));
  };
  const work = async () => {
    for (let photo = waiting.shift(); photo && !abort.signal.aborted; photo = waiting.shift()) {
      await captionOne(socket, photo, asked, { ...options, signal: abort.signal }, fail);
      done += 1;
      report();
    }
  };
  byId("failures").replaceChildren();
  byId("batch").hidden = byId("stop").hidden = false;
  report();
  await Promise.all(Array.from({ length: PARALLEL }, work));
  socket.close();
  if (abort.signal.aborted) byId("batch-status").textContent += ". Stopped.";
  byId("stop").hidden = true;
}

async function captionOne(socket, photo, asked, { synthesize, ...options }, fail) {
  try {
    if (asked.length === 1) return await addCaption(photo, await socket.caption(photo, asked[0], options));
    const { results, errors, synthesis } = await socket.analyze(
      photo,
      asked,
      synthesize ? { ...options, synthesize } : options,
    );
    for (const name of asked.map(nameOf)) if (results[name]) await addCaption(photo, results[name]);
    if (synthesis) await addCaption(photo, synthesis);
    for (const problem of Object.values(errors)) fail(photo, problem);
  } catch (error) {
    if (!options.signal.aborted) fail(photo, error);
  }
}
