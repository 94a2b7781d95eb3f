/** The results of a run: a tab for each perspective, and views of its caption. */
import { byId, copy, dollars, download, el, plural, seconds, size, tabs, words } from "./dom.js";
import { failure } from "./errors.js";
import { describe, titleOf } from "./options.js";
import { drawBoxes } from "./photo.js";
import { findBoxes, showReadable } from "./readable.js";
import { snippets } from "./snippets.js";

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
  #dots = new Map();
  /** Complete perspectives by name, and the lists of their fields. */
  #perspectives = new Map();
  #fields = new Map();
  #status = el("p.status");
  #spoken = el("p.unseen", { role: "status" });
  #content = el("div.content", { id: "content", role: "tabpanel", "aria-label": "Result", tabIndex: 0 });
  #copy = el("button.link", { onclick: () => copy(this.#copy, this.#text()) }, "Copy");
  #save = el("button.link", { onclick: () => this.#download() }, "Download");

  /**
   * @param {import("./run.js").Run} run
   * @param {{base: string, keyed: boolean}} context for the programs of the view “Code”
   * @param {(error: any) => {label: string, act: () => void}[]} actions what to offer after an error
   */
  constructor(run, context, actions) {
    this.#run = run;
    this.#context = context;
    this.#actions = actions;
    const items = [...run.items.values()];
    this.#selected = items[0].name;
    for (const item of items) {
      this.#dots.set(item.name, el("span.dot", { data: { state: item.state } }));
      void this.#describe(item);
    }
    const title = (name) => el("span", {}, this.#dots.get(name), titleOf(name));
    const ofPerspectives = { label: "Perspectives", kind: "div.tabs", panel: "content", selected: this.#selected, title };
    const ofViews = { label: "Views", kind: "div.views", panel: "content", selected: view };
    byId("run").replaceChildren(
      tabs([...run.items.keys()], { ...ofPerspectives, select: (name) => this.#show({ name }) }),
      this.#status,
      this.#spoken,
      el(
        "div.toolbar",
        {},
        tabs(VIEWS, { ...ofViews, select: (id) => this.#show({ id }) }),
        el("span", {}, this.#copy, this.#save),
      ),
      this.#content,
    );
    this.#render();
    this.#timer = setInterval(() => this.#tick(), 100);
  }

  get #item() {
    return this.#run.items.get(this.#selected);
  }

  /** Load the schema and the headings of a perspective; without them, its fields are shown in their order. */
  async #describe({ name, own }) {
    try {
      this.#perspectives.set(name, own ?? (await describe(name)));
    } catch {
      return;
    }
    this.#fields.delete(name);
    this.changed(name);
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
    const dot = this.#dots.get(name);
    if (dot.dataset.state !== item.state) {
      dot.dataset.state = item.state;
      this.#spoken.textContent = `${titleOf(name)}: ${item.state}`;
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
  }

  #render() {
    if (!this.#content.isConnected) return; // another run, or another photo, has taken its place
    const item = this.#item;
    const result = item.caption?.result ?? item.partial;
    this.#tick();
    this.#save.disabled = !item.caption;
    drawBoxes(findBoxes(result ?? {}));
    if (view === "Code") {
      if (!this.#content.hasChildNodes()) this.#content.replaceChildren(...this.#code());
    } else if (view === "Details") this.#content.replaceChildren(...details(item));
    else if (item.error) this.#content.replaceChildren(failure(item.error, this.#actions(item.error)));
    else if (!result) this.#content.replaceChildren();
    else if (view === "Readable") this.#showReadable(item, result);
    else this.#content.replaceChildren(el(view === "Text" ? "pre.prose" : "pre", {}, this.#text()));
    this.#copy.disabled = !this.#text();
  }

  #showReadable({ name, caption }, result) {
    const list = this.#fields.get(name) ?? el("dl.fields");
    this.#fields.set(name, list);
    if (list.parentNode !== this.#content) this.#content.replaceChildren(list);
    showReadable(list, result, this.#perspectives.get(name) ?? {});
    if (caption?.warnings.length && list === this.#content.lastChild) this.#content.append(notes(caption.warnings));
  }

  /** Return the text of the view, empty where there is none. */
  #text() {
    const { caption, partial } = this.#item;
    if (view === "Code") return this.#content.querySelector("pre")?.textContent ?? "";
    if (view === "Text") return caption?.rendered ?? "";
    const shown = view === "JSON" ? (caption?.result ?? partial) : (caption ?? partial);
    return shown ? JSON.stringify(shown, null, 2) : "";
  }

  #download() {
    const { caption, name } = this.#item;
    download(`${this.#run.request.photo.name}.${name}.json`, JSON.stringify(caption, null, 2));
  }

  #code() {
    const programs = snippets(this.#run.request, this.#context.base, this.#context.keyed);
    const shown = el("pre", { id: "program" });
    const select = (id) => (shown.textContent = programs[id]);
    const languages = { label: "Languages", kind: "div.views", panel: "program", selected: "curl", select };
    return [tabs(Object.keys(programs), languages), shown];
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
  const section = (title, content) => el("section", {}, el("h3", {}, title), content);
  const sections = [
    caption?.warnings.length && section("Warnings", notes(caption.warnings)),
    caption && section("Facts", facts(caption)),
    caption && section("Time", bars(caption.timing)),
    attempts.length && section("Calls", el("ol.lines", {}, attempts.map(attempt))),
  ].filter(Boolean);
  return sections.length ? sections : [el("p.muted", {}, "Nothing yet.")];
}

const notes = (warnings) => el("ul.notes", {}, ...warnings.map((text) => el("li", {}, text)));

function facts({ provider, model, usage, cost, image, output_mode, request_id, timing }) {
  const count = (tokens) => tokens?.toLocaleString("en") ?? "not reported";
  const rows = {
    Provider: provider,
    Model: model,
    "Input tokens": count(usage?.input_tokens),
    "Output tokens": count(usage?.output_tokens),
    "Cached tokens": count(usage?.cached_tokens),
    ...(timing.tokens_per_second && { Speed: `${timing.tokens_per_second} tokens per second` }),
    Cost: cost !== null ? dollars(cost) : "not known",
    "Photo as sent": `${image.width} × ${image.height}, ${image.media_type}, ${size(image.bytes)}`,
    "Done to it": image.actions.join(", ") || "nothing",
    "Output mode": output_mode,
    "Request id": request_id,
  };
  const row = ([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  return el("dl.facts", {}, Object.entries(rows).map(row));
}

function attempt({ provider, model, outcome, status, ms, provider_message, output_mode }) {
  const call = [`${provider} ${model}`, words(outcome), status && `status ${status}`, output_mode, seconds(ms)];
  return el("li", {}, call.filter(Boolean).join(" · "), provider_message && el("q", {}, provider_message));
}

/** Show the time of each stage as bars of the total. */
function bars({ total, tokens_per_second, ...stages }) {
  const bar = ([name, ms]) => {
    const fill = el("i");
    fill.style.width = `${Math.min(100, (ms / (total || 1)) * 100)}%`;
    const figure = ms < 1000 ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : seconds(ms);
    return el("li", {}, el("span", {}, words(name)), el("span.track", {}, fill), el("span.figure", {}, figure));
  };
  return el("ul.bars", {}, Object.entries({ ...stages, total }).map(bar));
}
