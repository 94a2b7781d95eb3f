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
/** Ends the photos that are captioned now. */
let batch = new AbortController();

/** Connect the buttons of the gallery, once. */
export function connectGallery() {
  byId("filter").oninput = filter;
  byId("stop").onclick = () => batch.abort();
  byId("empty-gallery").onclick = () => {
    for (const { card } of entries) URL.revokeObjectURL(card.querySelector("img")?.src);
    entries = [];
    byId("cards").replaceChildren();
    count();
  };
  byId("export").onchange = ({ target }) => {
    const shown = entries.filter(({ card }) => !card.hidden);
    download(`captions.${target.value}`, exported(target.value, shown), TYPES[target.value]);
    target.value = "";
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
 * Caption several photos over one WebSocket, some at a time, and show the progress.
 *
 * @param {import("./bridge.js").Bridge} bridge
 * @param {{photos: File[], perspectives: any[], options: any}} request
 */
export async function captionAll(bridge, { photos, ...request }) {
  batch.abort();
  const own = (batch = new AbortController());
  const socket = bridge.connect({ concurrency: PARALLEL });
  const waiting = [...photos];
  const failures = byId("failures");
  let done = 0;
  const report = () => {
    if (own !== batch) return; // later photos have taken the place
    const failed = failures.children.length;
    Object.assign(byId("progress"), { max: photos.length, value: done });
    byId("batch-status").textContent =
      `${done} of ${plural(photos.length, "photo")}${failed ? `, ${plural(failed, "failure")}` : ""}`;
  };
  const work = async () => {
    for (let photo = waiting.shift(); photo && !own.signal.aborted; photo = waiting.shift()) {
      const { captions, errors } = await captionOne(socket, photo, request, own.signal);
      for (const caption of captions) void addCaption(photo, caption);
      for (const { detail, message } of errors) {
        failures.append(el("li", {}, el("b", {}, photo.name), ` ${detail ?? message}`));
      }
      done += 1;
      report();
    }
  };
  failures.replaceChildren();
  byId("batch").hidden = byId("stop").hidden = false;
  report();
  await Promise.all(Array.from({ length: PARALLEL }, work));
  socket.close();
  if (own !== batch) return;
  if (own.signal.aborted) byId("batch-status").textContent += ". Stopped.";
  byId("stop").hidden = true;
}

async function captionOne(socket, photo, { perspectives, options }, signal) {
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
