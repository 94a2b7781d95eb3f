/** What to ask: perspectives, a perspective of the user's own, provider, model and advanced options. */
import { byId, el, plural, set, storage, words } from "./dom.js";
import { pointers } from "./errors.js";

const STORED = "graphcap-page";
const NUMBERS = ["temperature", "max_tokens", "seed"];
const EXAMPLE = {
  name: "mine",
  prompt: "Name the colours of this image and say what mood they set.",
  json_schema: {
    type: "object",
    properties: { colours: { type: "array", items: { type: "string" } }, mood: { type: "string" } },
    required: ["colours", "mood"],
    additionalProperties: false,
  },
  context_template: "{mood}",
};

/** The perspectives of the bridge by name. @type {Map<string, any>} */
export const perspectives = new Map();
let providers = [];
const chosen = new Set();
const memory = storage("localStorage");
let bridge;

/** Show the choices that a bridge offers. */
export async function showOptions(to) {
  bridge = to;
  const [all, available] = await Promise.all([bridge.perspectives.list(), bridge.providers.list()]);
  perspectives.clear();
  for (const each of all) perspectives.set(each.name, each);
  providers = available;
  const stored = parsed(memory.getItem(STORED)) ?? {};
  const known = (stored.names ?? []).filter((name) => perspectives.has(name));
  for (const name of known.length ? known : ["alt_text"]) if (perspectives.has(name)) chosen.add(name);
  showPerspectives();
  showProviders(stored);
}

/** Connect the fields with each other, once. */
export function connectOptions() {
  byId("search").oninput = filterPerspectives;
  byId("clear").onclick = () => {
    chosen.clear();
    showPerspectives();
  };
  for (const radio of document.getElementsByName("source")) radio.onchange = showSource;
  byId("editor").value = JSON.stringify(EXAMPLE, null, 2);
  byId("editor").oninput = () => {
    readOwn();
    showVariables();
  };
  byId("template").onchange = ({ target }) => target.value && startFrom(perspectives.get(target.value));
  byId("provider").onchange = () => {
    byId("model").value = "";
    void showModels();
  };
  byId("check").onclick = testConnection;
  byId("add").onclick = addFallback;
}

function showPerspectives() {
  const modules = new Map();
  for (const each of listed()) modules.set(each.module, [...(modules.get(each.module) ?? []), each]);
  const row = (each) => {
    const { name, display_name, description, tags = [] } = each;
    const onchange = ({ target }) => pick(name, target.checked);
    const box = el("input", set({ type: "checkbox", value: name, checked: chosen.has(name), onchange }));
    const text = `${name} ${display_name} ${description} ${tags.join(" ")}`.toLowerCase();
    return el(
      "label.choice",
      set({ data: { text } }),
      box,
      el("span", el("b", display_name), el("small", description)),
    );
  };
  const group = ([name, members]) => el("section", el("h3", words(name)), members.map(row));
  byId("perspectives").replaceChildren(...[...modules].map(group));
  const option = ({ name, display_name }) => el("option", set({ value: name }), display_name);
  byId("template").replaceChildren(el("option", set({ value: "" }), "an example"), ...listed().map(option));
  const synthesizers = [...perspectives.values()].filter(({ type }) => type === "synthesizer");
  byId("synthesize").replaceChildren(el("option", set({ value: "" }), "Nothing"), ...synthesizers.map(option));
  filterPerspectives();
  showPicked();
}

/** Return the perspectives that caption a photo by themselves. */
const listed = () => [...perspectives.values()].filter(({ type }) => type !== "synthesizer");

function pick(name, checked) {
  if (checked) chosen.add(name);
  else chosen.delete(name);
  showPicked();
}

function showPicked() {
  const names = [...chosen].map((name) => perspectives.get(name)?.display_name ?? name);
  byId("picked").textContent =
    names.length > 2 ? plural(names.length, "perspective") : names.join(", ") || "None chosen";
  showVariables();
}

function filterPerspectives() {
  const sought = byId("search").value.toLowerCase().split(/\s+/);
  for (const group of byId("perspectives").children) {
    const rows = [...group.querySelectorAll(".choice")];
    for (const row of rows) row.hidden = !sought.every((word) => row.dataset.text.includes(word));
    group.hidden = rows.every((row) => row.hidden);
  }
}

const isOwn = () => byId("form").elements.source.value === "own";

function showSource() {
  byId("library").hidden = isOwn();
  byId("own").hidden = !isOwn();
  byId("try").classList.toggle("editing", isOwn());
  showVariables();
}

function startFrom({ name, description, variables, json_schema, schema }) {
  const { prompt, context_template, table_columns } = schema;
  const copied = { name: `my_${name}`, description, prompt, variables, json_schema, table_columns, context_template };
  byId("editor").value = JSON.stringify(copied, null, 2);
  byId("editor").oninput();
}

/** Return the perspective in the editor, or null after showing why it is not JSON. */
function readOwn() {
  try {
    const own = JSON.parse(byId("editor").value);
    byId("mistakes").replaceChildren();
    return own;
  } catch (error) {
    showMistakes([{ pointer: "", message: `This is not JSON: ${error.message}` }]);
    return null;
  }
}

/** Show the mistakes of the perspective in the editor. @param {{pointer: string, message: string}[]} problems */
export function showMistakes(problems) {
  byId("mistakes").replaceChildren(pointers(problems));
}

/** Return the perspectives to ask: names, or the object in the editor; empty where there is none. */
export function chosenPerspectives() {
  if (!isOwn()) return [...chosen];
  const own = readOwn();
  return own ? [own] : [];
}

function showVariables() {
  const asked = isOwn() ? [parsed(byId("editor").value)] : [...chosen].map((name) => perspectives.get(name));
  const lists = asked.map((each) => each?.variables).filter(Array.isArray);
  const variables = new Map(lists.flat().map((each) => [String(each?.name ?? ""), each]));
  variables.delete("");
  const before = new Map([...byId("variables").querySelectorAll("input")].map(({ name, value }) => [name, value]));
  const field = ([name, { description = "", required, default: placeholder = "" }]) => {
    const input = el("input", set({ name, placeholder, value: before.get(name) ?? "", required: required === true }));
    return el("label", words(name), required === true && " (needed)", input, el("small", String(description)));
  };
  byId("variables").hidden = !variables.size;
  byId("variables").replaceChildren(el("h3", "Variables"), ...[...variables].map(field));
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const providerName = ({ name, title }) => (title && title.toLowerCase() !== name ? `${title} (${name})` : name);

function showProviders({ provider, model }) {
  const names = new Set(providers.map(({ name }) => name));
  const start = names.has(provider) ? provider : providers.find((each) => each.is_default)?.name;
  const option = (each) => el("option", set({ value: each.name, selected: each.name === start }), providerName(each));
  byId("provider").replaceChildren(...providers.map(option));
  byId("model").value = names.has(provider) ? (model ?? "") : "";
  void showModels();
}

/** List the models that the provider serves now. */
async function showModels() {
  const provider = providers.find(({ name }) => name === byId("provider").value);
  const status = byId("provided");
  if (!provider) return;
  byId("model").placeholder = provider.default_model || "the provider's default";
  byId("models").replaceChildren();
  if (provider.needs_key && !provider.has_key) {
    status.textContent = "No key is configured where the bridge runs.";
    return;
  }
  status.textContent = "Listing models …";
  let text;
  let models = [];
  try {
    models = await bridge.providers.models(provider.name);
    text = plural(models.length, "model");
  } catch (error) {
    text = error.title || "No models listed";
  }
  if (byId("provider").value !== provider.name) return;
  byId("models").replaceChildren(
    ...models.map(({ id, name }) => el("option", set({ value: id }), name === id ? "" : name)),
  );
  status.textContent = text;
}

async function testConnection() {
  const status = byId("provided");
  status.textContent = "Testing …";
  try {
    const model = byId("model").value.trim() || undefined;
    const { result, message } = await bridge.providers.test(byId("provider").value, { model });
    const failed = result.diagnostics.connection_steps.find((step) => step.status === "failed");
    status.textContent = failed ? (failed.error ?? message) : `Works: ${result.details.test_model ?? message}`;
  } catch (error) {
    status.textContent = error.message;
  }
}

function addFallback() {
  const option = ([value, text]) => el("option", set({ value }), text);
  const select = (name, options) => el("select", set({ name }), options.map(option));
  const reasons = [
    ["any", "any failure"],
    ["refusal", "a refusal"],
  ];
  const row = el(
    "div.fallback",
    el(
      "label",
      "Fallback",
      select(
        "provider",
        providers.map(({ name }) => [name, name]),
      ),
    ),
    el("label", "Model", el("input", set({ name: "model", autocomplete: "off" }))),
    el("label", "After", select("on", reasons)),
    el("button.link", set({ onclick: () => row.remove() }), "Remove"),
  );
  byId("fallbacks").append(row);
  row.querySelector("select").focus();
}

/** Return the fields of the request that were filled in, and remember the choice for the next visit. */
export function chosenOptions() {
  const options = { provider: byId("provider").value };
  const add = (name, value) => value && (options[name] = value);
  add("model", byId("model").value.trim());
  for (const name of NUMBERS) if (byId(name).value) options[name] = byId(name).valueAsNumber;
  if (!isOwn() && chosen.size > 1) add("synthesize", byId("synthesize").value);
  add("resize_resolution", byId("resize_resolution").value);
  const context = byId("context").value.trim();
  add("context", context && [context]);
  const variables = [...byId("variables").querySelectorAll("input")].filter(({ value }) => value);
  if (variables.length) options.variables = Object.fromEntries(variables.map(({ name, value }) => [name, value]));
  const fallbacks = [...byId("fallbacks").children].map((row) => {
    const [provider, model, on] = [...row.querySelectorAll("select, input")].map(({ value }) => value.trim());
    return { provider, ...(model ? { model } : {}), on };
  });
  if (fallbacks.length) options.fallbacks = fallbacks;
  memory.setItem(STORED, JSON.stringify({ names: [...chosen], provider: options.provider, model: options.model }));
  return options;
}
