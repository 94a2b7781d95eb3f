/** The page: connects its parts, asks for a key where one is needed, and shows the view that the address names. */
import { Bridge, BridgeError } from "./bridge.js";
import { byId, storage } from "./dom.js";
import { failure, mistakes } from "./errors.js";
import { addCaption, captionAll, connectGallery } from "./gallery.js";
import { chosenOptions, chosenPerspectives, connectOptions, showMistakes, showOptions } from "./options.js";
import { acceptPhotos, linkBoxes, photo } from "./photo.js";
import { Results } from "./results.js";
import { Run } from "./run.js";

const KEY = "graphcap-key";
const hint = byId("run").firstElementChild;
const base = new URL("./", location.href).href;
const keys = storage("sessionStorage");
/** @type {Bridge} */
let bridge;
/** @type {Run | null} */
let run = null;
/** The loading in progress. @type {Promise<void> | null} */
let loading = null;

/** Load the lists, or join the loading in progress. */
const start = () => (loading ??= load().finally(() => (loading = null)));

async function load() {
  byId("notice").hidden = true;
  bridge = new Bridge({ baseUrl: base, apiKey: keys.getItem(KEY) ?? "" });
  try {
    byId("version").textContent = (await bridge.health()).version;
    await showOptions(bridge);
    byId("docs").hidden = !(await fetch("docs", { method: "HEAD" })).ok;
  } catch (error) {
    if (error.code === "unauthorized") return askForKey();
    notify(failure(error, [{ label: "Try again", act: start }]));
  }
}

const KEYLESS = { code: "unauthorized", title: "API key required", detail: "This bridge captions photos only with a key." };

/** Ask for a key of the bridge, keep it in this tab, and start again with it. */
function askForKey() {
  const dialog = byId("key");
  if (dialog.open) return;
  if (keys.getItem(KEY)) byId("key-why").textContent = "The bridge rejects this key. Enter another one.";
  byId("key-value").value = "";
  dialog.onclose = () => {
    const key = byId("key-value").value.trim();
    if (!key) return notify(failure(new BridgeError(KEYLESS), [{ label: "Enter a key", act: askForKey }]));
    keys.setItem(KEY, key);
    void start();
  };
  dialog.showModal();
}

function notify(message) {
  byId("notice").replaceChildren(message);
  byId("notice").hidden = false;
}

function showView() {
  const view = location.hash === "#gallery" ? "gallery" : "try";
  const other = byId(view).hidden;
  for (const link of document.querySelectorAll("nav a")) {
    const shown = link.getAttribute("href") === `#${view}`;
    byId(link.getAttribute("href").slice(1)).hidden = !shown;
    link.setAttribute("aria-current", shown ? "page" : "false");
  }
  if (other) scrollTo(0, 0);
}

/** Return what to ask once the lists have loaded, or null after saying what is missing. */
async function question() {
  if (!byId("provider").value) {
    const loaded = start();
    notify("The lists are still loading. The request follows.");
    await loaded;
    if (!byId("provider").value) return null; // the notice says why
  }
  byId("notice").hidden = true;
  const perspectives = chosenPerspectives();
  if (perspectives.length) return { perspectives, options: chosenOptions() };
  // A mistake in the perspective of one's own stands below the editor.
  if (byId("own").hidden) notify("Choose a perspective: it says what to look for.");
  return null;
}

async function caption() {
  const asked = await question();
  if (!asked) return;
  if (!photo) {
    notify("Choose a photo first: drop one, paste one, or take the sample.");
    byId("choose").focus();
    return;
  }
  run?.cancel();
  const current = (run = new Run({ photo, ...asked }, (name) => changed(current, results, name)));
  const results = new Results(current, { base, keyed: keys.getItem(KEY) !== null }, actions);
  setRunning(true);
  if (matchMedia("(max-width: 56rem)").matches) byId("run").scrollIntoView({ block: "start" });
  await current.send(bridge);
  if (run === current) setRunning(false);
}

function changed(current, results, name) {
  const item = current.items.get(name);
  if (item.caption) void addCaption(current.request.photo, item.caption);
  if (item.error?.code === "unauthorized") askForKey();
  if (item.own && item.error) showMistakes(mistakes(item.error));
  if (run === current) results.changed(name);
}

function actions(error) {
  const again = { label: "Try again", act: caption };
  if (error.code === "unauthorized") return [{ label: "Enter a key", act: askForKey }];
  if (error.code?.startsWith("provider_"))
    return [again, { label: "Test connection", act: () => byId("check").click() }];
  return error.retryable || error.code === "cancelled" ? [again] : [];
}

function setRunning(running) {
  byId("cancel").hidden = !running;
  byId("go").textContent = running ? "Caption again" : "Caption";
}

function showPhoto() {
  run?.cancel();
  run = null;
  byId("run").replaceChildren(hint);
  setRunning(false);
  location.hash = "#try";
}

async function captionMany(photos) {
  const asked = await question();
  if (!asked) return;
  if (!byId("form").checkValidity()) {
    const { labels, validationMessage } = byId("form").querySelector(":invalid");
    return notify(`“${labels[0].firstChild.textContent.trim()}” in Try: ${validationMessage}`);
  }
  location.hash = "#gallery";
  captionAll(photos.map((photo) => ({ photo, request: asked })));
}

connectOptions();
connectGallery((options) => bridge.connect(options));
linkBoxes();
acceptPhotos(showPhoto, captionMany);
byId("form").onsubmit = (event) => {
  event.preventDefault();
  void caption();
};
byId("form").addEventListener("invalid", ({ target }) => target.closest("details")?.setAttribute("open", ""), true);
byId("cancel").onclick = () => run?.cancel();
addEventListener("keydown", (event) => {
  const shortcut = event.key === "Enter" && (event.ctrlKey || event.metaKey);
  if (shortcut && !byId("try").hidden) byId("form").requestSubmit();
  else if (event.key === "Enter" && event.target === byId("search")) event.preventDefault();
  if (event.key === "Escape") run?.cancel();
});
addEventListener("hashchange", showView);
showView();
void start();
