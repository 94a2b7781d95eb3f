/** The page: connects its parts, asks for a key where one is needed, and shows the view that the address names. */
import { Bridge } from "./bridge.js";
import { byId } from "./dom.js";
import { failure } from "./errors.js";
import { addCaption, captionAll, connectGallery } from "./gallery.js";
import { chosenOptions, chosenPerspectives, connectOptions, showMistakes, showOptions } from "./options.js";
import { acceptPhotos, drawBoxes, linkBoxes, photo } from "./photo.js";
import { Results } from "./results.js";
import { Run } from "./run.js";

const KEY = "graphcap-key";
const base = new URL("./", location.href).href;
let bridge = connect();
/** @type {Run | null} */
let run = null;

function connect() {
  return new Bridge({ baseUrl: base, apiKey: sessionStorage.getItem(KEY) ?? "" });
}

async function start() {
  byId("notice").hidden = true;
  try {
    bridge = connect();
    byId("version").textContent = (await bridge.health()).version;
    await showOptions(bridge);
  } catch (error) {
    if (error.code === "unauthorized") return askForKey();
    notify(failure(error, [{ label: "Try again", act: start }]));
  }
}

/** Ask for a key of the bridge, keep it in this tab, and start again with it. */
function askForKey() {
  const dialog = byId("key");
  if (dialog.open) return;
  if (sessionStorage.getItem(KEY)) byId("key-why").textContent = "The bridge rejects this key. Enter another one.";
  byId("key-value").value = "";
  dialog.onclose = () => {
    const key = byId("key-value").value.trim();
    if (!key) return notify("Without a key, this bridge shows nothing. Reload the page to enter one.");
    sessionStorage.setItem(KEY, key);
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
    if (link.hash === (gallery ? "#gallery" : "#try")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Return what to ask, or null after saying what is missing. */
function question() {
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
  byId("notice").hidden = true;
  run?.cancel();
  const request = { photo, ...asked };
  if (request.perspectives.length === 1) delete request.options.synthesize;
  const current = (run = new Run(request, (name) => changed(current, name)));
  const keyed = sessionStorage.getItem(KEY) !== null;
  current.results = new Results(current, { base, keyed }, actions);
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
  if (run === current) current.results.changed(name);
}

function actions(error) {
  const again = { label: "Try again", act: caption };
  if (error.code === "unauthorized") return [{ label: "Enter a key", act: askForKey }];
  if (error.code?.startsWith("provider_")) return [again, { label: "Test connection", act: () => byId("check").click() }];
  return error.retryable || error.code === "cancelled" ? [again] : [];
}

function setRunning(running) {
  byId("cancel").hidden = !running;
  byId("go").textContent = running ? "Start over" : "Caption";
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
  setRunning(false);
  location.hash = "#try";
}, captionMany);
byId("form").onsubmit = (event) => {
  event.preventDefault();
  void caption();
};
byId("cancel").onclick = () => run?.cancel();
addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void caption();
  if (event.key === "Escape") run?.cancel();
});
addEventListener("hashchange", showView);
showView();
drawBoxes([]);
void start();
