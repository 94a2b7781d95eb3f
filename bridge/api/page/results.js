/** The results of a run: a tab for each perspective, and views of its caption. */
import { drawBoxes } from "./photo.js";
import { byId, copy, download, el, plural, seconds, size, tabs, words } from "./dom.js";
import { failure } from "./errors.js";
import { findBoxes, showReadable } from "./readable.js";
import { snippets } from "./snippets.js";
import { perspectives } from "./options.js";

const VIEWS = ["Readable", "Text", "JSON", "Details", "Code"];
let view = "Readable";

/** Shows one run. The panel is the last thing on the page, so that text that grows moves nothing. */
export class Results {
  #run;
  #actions;
  #context;
  #selected;
  #timer = 0;
  #waiting = false;
  #labels = new Map();
  #fields = new Map();
  #status = el("p", { className: "status" });
  #spoken = el("p", { className: "unseen", role: "status" });
  #content = el("div", { className: "content", id: "content", role: "tabpanel", tabIndex: 0 });

  /**
   * @param {import("./run.js").Run} run
   * @param {{base: string, keyed: boolean}} context for the programs of the view “Code”
   * @param {(error: any) => {label: string, act: () => void}[]} actions what to offer after an error
   */
  constructor(run, context, actions) {
    this.#run = run;
    this.#context = context;
    this.#actions = actions;
    const names = [...run.items.keys()];
    this.#selected = names[0];
    for (const name of names) this.#labels.set(name, el("span", { className: "dot", data: { state: "running" } }));
    const items = names.map((name) => ({ id: name, label: el("span", {}, this.#labels.get(name), this.#title(name)) }));
    const select = (id) => this.#select(id);
    const list = tabs(items, { label: "Perspectives", className: "tabs", panel: "content", selected: names[0], select });
    const views = tabs(VIEWS.map((id) => ({ id, label: id })), { label: "Views", className: "views", panel: "content", selected: view, select: (id) => this.#show(id) });
    const save = el("button", { type: "button", className: "link", onclick: () => this.#download() }, "Download");
    const take = el("button", { type: "button", className: "link", onclick: () => copy(take, this.#text()) }, "Copy");
    byId("run").replaceChildren(list, this.#status, this.#spoken, el("div", { className: "toolbar" }, views, el("span", {}, take, save)), this.#content);
    this.#render();
    this.#timer = setInterval(() => this.#tick(), 100);
  }

  get #item() {
    return this.#run.items.get(this.#selected);
  }

  #title(name) {
    return perspectives.get(name)?.display_name ?? words(name);
  }

  #select(name) {
    this.#selected = name;
    this.#content.replaceChildren();
    this.#render();
  }

  #show(id) {
    view = id;
    this.#content.replaceChildren();
    this.#render();
  }

  /** Show a change of one perspective, at most once per frame. */
  changed(name) {
    const item = this.#run.items.get(name);
    const dot = this.#labels.get(name);
    if (dot.dataset.state !== item.state) {
      dot.dataset.state = item.state;
      this.#spoken.textContent = `${this.#title(name)}: ${item.state}`;
    }
    if (name !== this.#selected || this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      this.#waiting = false;
      this.#render();
    });
  }

  #tick() {
    if (this.#run.ended) clearInterval(this.#timer);
    const item = this.#item;
    if (item.state === "running") this.#status.textContent = `${item.stage} · ${seconds(performance.now() - this.#run.started)}`;
    else this.#status.textContent = item.caption ? summary(item) : `Failed after ${seconds(item.ended - this.#run.started)}`;
    this.#status.dataset.state = item.state;
  }

  #render() {
    if (!this.#content.isConnected) return; // another run, or another photo, has taken its place
    const item = this.#item;
    this.#tick();
    drawBoxes(findBoxes(item.caption?.result ?? item.partial ?? {}));
    if (item.error && view !== "Details" && view !== "Code") {
      this.#content.replaceChildren(failure(item.error, this.#actions(item.error)));
    } else if (view === "Readable") this.#showReadable(item);
    else this.#content.replaceChildren(...this.#build(item));
  }

  #showReadable(item) {
    const result = item.caption?.result ?? item.partial;
    if (!result) {
      this.#fields.delete(item.name);
      this.#content.replaceChildren();
      return;
    }
    const list = this.#fields.get(item.name) ?? el("dl", { className: "fields" });
    this.#fields.set(item.name, list);
    if (list.parentNode !== this.#content) this.#content.replaceChildren(list);
    showReadable(list, result, item.own ?? perspectives.get(item.name) ?? {});
  }

  #build(item) {
    if (view === "Code") return this.#code();
    if (view === "Details") return details(item);
    return [el("pre", { className: view === "Text" ? "prose" : "" }, this.#text())];
  }

  #text() {
    const item = this.#item;
    if (view === "Code") return this.#content.querySelector("pre").textContent;
    if (view === "Text") return item.caption?.rendered ?? "";
    return JSON.stringify(item.caption ? (view === "JSON" ? item.caption.result : item.caption) : item.partial, null, 2);
  }

  #download() {
    const item = this.#item;
    if (item.caption) download(`${this.#run.request.photo.name}.${item.name}.json`, JSON.stringify(item.caption, null, 2));
  }

  #code() {
    const programs = snippets(this.#run.request, this.#context.base, this.#context.keyed);
    const shown = el("pre", { id: "program" });
    const items = Object.keys(programs).map((id) => ({ id, label: id }));
    const select = (id) => (shown.textContent = programs[id]);
    return [tabs(items, { label: "Languages", className: "views", panel: "program", selected: "curl", select }), shown];
  }
}

/** Return the line below the tabs: seconds, model and tokens. */
function summary({ caption }) {
  const { usage, timing, model } = caption;
  return [seconds(timing.total ?? 0), model, tokens(usage), caption.warnings.length ? plural(caption.warnings.length, "warning") : ""].filter(Boolean).join(" · ");
}

function tokens(usage) {
  if (!usage || usage.input_tokens === null) return "";
  return `${plural(usage.input_tokens, "token")} in, ${usage.output_tokens ?? "?"} out`;
}

function details({ caption, error }) {
  const facts = caption && [
    ["Provider", caption.provider],
    ["Model", caption.model],
    ["Input tokens", caption.usage?.input_tokens],
    ["Output tokens", caption.usage?.output_tokens],
    ["Cached tokens", caption.usage?.cached_tokens],
    ["Photo as sent", `${caption.image.width} × ${caption.image.height}, ${caption.image.media_type}, ${size(caption.image.bytes)}`],
    ["Done to it", caption.image.actions.join(", ") || "nothing"],
    ["Output mode", words(caption.output_mode)],
    ["Request id", caption.request_id],
  ];
  const attempts = caption?.attempts ?? error?.attempts ?? [];
  return [
    ...(caption?.warnings.length ? [section("Warnings", el("ul", { className: "lines" }, caption.warnings.map((text) => el("li", {}, text))))] : []),
    ...(facts ? [section("Facts", el("dl", { className: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value ?? "not reported"))))))] : []),
    ...(caption ? [section("Time", bars(caption.timing))] : []),
    ...(attempts.length ? [section("Calls", el("ol", { className: "lines" }, attempts.map(attempt)))] : []),
    ...(caption || attempts.length ? [] : [el("p", { className: "muted" }, "Nothing yet.")]),
  ];
}

const section = (title, ...content) => el("section", {}, el("h3", {}, title), content);

function attempt({ provider, model, outcome, status, ms, provider_message, output_mode }) {
  const facts = [`${provider} ${model}`, words(outcome).toLowerCase(), status && `status ${status}`, words(output_mode).toLowerCase(), seconds(ms)];
  return el("li", {}, facts.filter(Boolean).join(" · "), provider_message ? el("q", {}, provider_message) : null);
}

/** Show the milliseconds of each stage as bars of the total. */
function bars({ total, ...stages }) {
  const bar = ([name, ms]) => {
    const fill = el("i");
    fill.style.width = `${Math.min(100, (ms / (total || 1)) * 100)}%`;
    return el("li", {}, el("span", {}, words(name)), el("span", { className: "track" }, fill), el("span", { className: "figure" }, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`));
  };
  return el("ul", { className: "bars" }, Object.entries({ ...stages, total }).map(bar));
}
