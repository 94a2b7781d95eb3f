/** The page: connects its parts, asks for a key where one is needed, and shows the view that the address names. */
import { Bridge } from "./bridge.js";
import { byId, storage } from "./dom.js";
import { failure } from "./errors.js";
import { addCaption, captionAll, connectGallery } from "./gallery.js";
import { chosenOptions, chosenPerspectives, connectOptions, showMistakes, showOptions } from "./options.js";
import { acceptPhotos, drawBoxes, linkBoxes, photo } from "./photo.js";
import { Results } from "./results.js";
import { Run } from "./run.js";

const KEY = "graphcap-key";
const hint = byId("run").firstElementChild;
const base = new URL("./", location.href).href;
const keys = storage("sessionStorage");
let bridge = connect();
/** @type {Run | null} */
let run = null;
/** @type {Results | null} */
let results = null;

function connect() {
  return new Bridge({ baseUrl: base, apiKey: keys.getItem(KEY) ?? "" });
}

async function start() {
  byId("notice").hidden = true;
  try {
    bridge = connect();
    byId("version").textContent = (await bridge.health()).version;
    await showOptions(bridge);
    byId("docs").hidden = !(await fetch("docs", { method: "HEAD" })).ok;
  } catch (error) {
    if (error.code === "unauthorized") return askForKey();
    notify(failure(error, [{ label: "Try again", act: start }]));
  }
}

/** Ask for a key of the bridge, keep it in this tab, and start again with it. */
function askForKey() {
  const dialog = byId("key");
  if (dialog.open) return;
  if (keys.getItem(KEY)) byId("key-why").textContent = "The bridge rejects this key. Enter another one.";
  byId("key-value").value = "";
  dialog.onclose = () => {
    const key = byId("key-value").value.trim();
    if (!key) return notify("Without a key, this bridge shows nothing. Reload the page to enter one.");
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
  const gallery = location.hash === "#gallery";
  byId("gallery").hidden = !gallery;
  byId("try").hidden = gallery;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === (gallery ? "#gallery" : "#try")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Return what to ask, or null after saying what is missing. */
function question() {
  byId("notice").hidden = true;
  const perspectives = chosenPerspectives();
  if (perspectives.length) return { perspectives, options: chosenOptions() };
  if (!byId("own").hidden) return null; // the mistake stands below the editor
  notify("Choose a perspective: it says what to look for.");
  return null;
}

async function caption() {
  const asked = question();
  if (!asked) return;
  if (!photo) {
    notify("Choose a photo first: drop one, paste one, or take the sample.");
    byId("choose").focus();
    return;
  }
  run?.cancel();
  const request = { photo, ...asked };
  const current = (run = new Run(request, (name) => changed(current, name)));
  const keyed = keys.getItem(KEY) !== null;
  results = new Results(current, { base, keyed }, actions);
  setRunning(true);
  if (matchMedia("(max-width: 56rem)").matches) byId("run").scrollIntoView({ block: "start" });
  await current.send(bridge);
  if (run === current) setRunning(false);
}

function changed(current, name) {
  const item = current.items.get(name);
  if (item.caption) void addCaption(current.request.photo, item.caption);
  if (item.error?.code === "unauthorized") askForKey();
  if (item.own && item.error) showMistakes(item.error.problems ?? item.error.errors ?? []);
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

function captionMany(photos) {
  const asked = question();
  if (!asked) return;
  location.hash = "#gallery";
  void captionAll(bridge, { photos, ...asked });
}

connectOptions();
connectGallery();
linkBoxes();
acceptPhotos(() => {
  run?.cancel();
  run = null;
  byId("run").replaceChildren(hint);
  setRunning(false);
  location.hash = "#try";
}, captionMany);
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
drawBoxes([]);
void start();
