/** The results of a run: a tab for each perspective, and views of its caption. */
import { drawBoxes } from "./photo.js";
import { byId, copy, dollars, download, el, plural, seconds, set, size, tabs, words } from "./dom.js";
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
  #status = el("p.status");
  #spoken = el("p.unseen", set({ role: "status" }));
  #content = el("div.content", set({ id: "content", role: "tabpanel", tabIndex: 0 }));

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
    for (const name of names) this.#labels.set(name, el("span.dot", set({ data: { state: "running" } })));
    const items = names.map((id) => ({ id, label: el("span", this.#labels.get(id), this.#title(id)) }));
    const views = VIEWS.map((id) => ({ id, label: id }));
    const panel = "content";
    const ofPerspectives = { label: "Perspectives", kind: "div.tabs", panel, selected: names[0] };
    const ofViews = { label: "Views", kind: "div.views", panel, selected: view };
    const save = el("button.link", set({ onclick: () => this.#download() }), "Download");
    const take = el("button.link", set({ onclick: () => copy(take, this.#text()) }), "Copy");
    byId("run").replaceChildren(
      tabs(items, { ...ofPerspectives, select: (id) => this.#show({ name: id }) }),
      this.#status,
      this.#spoken,
      el("div.toolbar", tabs(views, { ...ofViews, select: (id) => this.#show({ id }) }), el("span", take, save)),
      this.#content,
    );
    this.#render();
    this.#timer = setInterval(() => this.#tick(), 100);
  }

  get #item() {
    return this.#run.items.get(this.#selected);
  }

  #title(name) {
    return perspectives.get(name)?.display_name ?? words(name);
  }

  /** Show another perspective, or another view. @param {{name?: string, id?: string}} choice */
  #show({ name = this.#selected, id = view }) {
    this.#selected = name;
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
    const { started } = this.#run;
    if (item.state === "running") this.#status.textContent = `${item.stage} · ${seconds(performance.now() - started)}`;
    else this.#status.textContent = item.caption ? summary(item) : `Failed after ${seconds(item.ended - started)}`;
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
    const list = this.#fields.get(item.name) ?? el("dl.fields");
    this.#fields.set(item.name, list);
    if (list.parentNode !== this.#content) this.#content.replaceChildren(list);
    showReadable(list, result, item.own ?? perspectives.get(item.name) ?? {});
    const warnings = item.caption?.warnings ?? [];
    if (warnings.length && list === this.#content.lastChild) this.#content.append(notes(warnings));
  }

  #build(item) {
    if (view === "Code") return this.#code();
    if (view === "Details") return details(item);
    return [el(view === "Text" ? "pre.prose" : "pre", this.#text())];
  }

  #text() {
    const item = this.#item;
    if (view === "Code") return this.#content.querySelector("pre").textContent;
    if (view === "Text") return item.caption?.rendered ?? "";
    const whole = view === "JSON" || !item.caption ? (item.caption?.result ?? item.partial) : item.caption;
    return JSON.stringify(whole, null, 2);
  }

  #download() {
    const item = this.#item;
    const file = `${this.#run.request.photo.name}.${item.name}.json`;
    if (item.caption) download(file, JSON.stringify(item.caption, null, 2));
  }

  #code() {
    const programs = snippets(this.#run.request, this.#context.base, this.#context.keyed);
    const shown = el("pre", set({ id: "program" }));
    const items = Object.keys(programs).map((id) => ({ id, label: id }));
    const select = (id) => (shown.textContent = programs[id]);
    return [tabs(items, { label: "Languages", kind: "div.views", panel: "program", selected: "curl", select }), shown];
  }
}

/** Return the line below the tabs: seconds, model, tokens and cost. */
function summary({ caption: { usage, cost, timing, model, warnings } }) {
  const tokens = usage?.input_tokens && `${plural(usage.input_tokens, "token")} in, ${usage.output_tokens ?? "?"} out`;
  const warned = warnings.length && plural(warnings.length, "warning");
  return [seconds(timing.total ?? 0), model, tokens, cost && dollars(cost), warned].filter(Boolean).join(" · ");
}

function details({ caption, error }) {
  const attempts = caption?.attempts ?? error?.attempts ?? [];
  const sections = [];
  const add = (title, content) => sections.push(el("section", el("h3", title), content));
  if (caption?.warnings.length) add("Warnings", notes(caption.warnings));
  if (caption)
    add(
      "Facts",
      el(
        "dl.facts",
        facts(caption).map(([name, value]) => el("div", el("dt", name), el("dd", value))),
      ),
    );
  if (caption) add("Time", bars(caption.timing));
  if (attempts.length) add("Calls", el("ol.lines", attempts.map(attempt)));
  return sections.length ? sections : [el("p.muted", "Nothing yet.")];
}

const notes = (warnings) =>
  el(
    "ul.notes",
    warnings.map((text) => el("li", text)),
  );

function facts({ provider, model, usage, cost, image, output_mode, request_id }) {
  const count = (tokens) => tokens?.toLocaleString("en") ?? "not reported";
  return [
    ["Provider", provider],
    ["Model", model],
    ["Input tokens", count(usage?.input_tokens)],
    ["Output tokens", count(usage?.output_tokens)],
    ["Cached tokens", count(usage?.cached_tokens)],
    ["Cost", cost !== null ? dollars(cost) : "not known"],
    ["Photo as sent", `${image.width} × ${image.height}, ${image.media_type}, ${size(image.bytes)}`],
    ["Done to it", image.actions.join(", ") || "nothing"],
    ["Output mode", words(output_mode)],
    ["Request id", request_id],
  ];
}

function attempt({ provider, model, outcome, status, ms, provider_message, output_mode }) {
  const call = [`${provider} ${model}`, words(outcome), status && `status ${status}`, words(output_mode), seconds(ms)];
  return el("li", call.filter(Boolean).join(" · "), provider_message && el("q", provider_message));
}

/** Show the milliseconds of each stage as bars of the total. */
function bars({ total, ...stages }) {
  const bar = ([name, ms]) => {
    const fill = el("i");
    fill.style.width = `${Math.min(100, (ms / (total || 1)) * 100)}%`;
    const figure = `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
    return el("li", el("span", words(name)), el("span.track", fill), el("span.figure", figure));
  };
  return el("ul.bars", Object.entries({ ...stages, total }).map(bar));
}
