/** What to ask: perspectives, a perspective of the user's own, provider, model and advanced options. */
import { byId, el, isObject, options, parsed, plural, storage, words } from "./dom.js";
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

/** Summaries of the perspectives of the bridge by name. @type {Map<string, any>} */
const perspectives = new Map();
let providers = [];
const chosen = new Set();
const memory = storage("localStorage");
let bridge;

/** Return the title of a perspective. */
export const titleOf = (name) => perspectives.get(name)?.display_name ?? words(name);

/** Return the variables of perspectives. The bridge rejects values of others. */
export const variablesOf = (names) => names.flatMap((name) => perspectives.get(name)?.variables ?? []);

/** Load a perspective with its prompt and schemas. */
export const describe = (name) => bridge.perspectives.get(name);

/** Show the choices that a bridge offers. */
export async function showOptions(to) {
  bridge = to;
  const [all, available] = await Promise.all([bridge.perspectives.summaries(), bridge.providers.list()]);
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
  byId("template").onchange = ({ target }) => target.value && startFrom(target.value);
  byId("provider").onchange = () => {
    byId("model").value = "";
    void showModels();
  };
  byId("check").onclick = testConnection;
  byId("add").onclick = addFallback;
}

function showPerspectives() {
  const all = [...perspectives.values()];
  const listed = all.filter(({ type }) => type !== "synthesizer"); // the others need captions to combine
  const row = ({ name, display_name, description, tags = [] }) => {
    const onchange = ({ target }) => pick(name, target.checked);
    const text = `${name} ${display_name} ${description} ${tags.join(" ")}`.toLowerCase();
    const box = el("input", { type: "checkbox", value: name, checked: chosen.has(name), onchange });
    const label = el("span", {}, el("b", {}, display_name), el("small", {}, description));
    return el("label.choice", { data: { text } }, box, label);
  };
  const group = (module) => {
    const members = listed.filter((each) => each.module === module);
    return el("section", {}, el("h3", {}, words(module)), members.map(row));
  };
  byId("perspectives").replaceChildren(...[...new Set(listed.map(({ module }) => module))].map(group));
  const choice = ({ name, display_name }) => [name, display_name];
  const synthesizers = all.filter((each) => !listed.includes(each));
  byId("template").replaceChildren(...options([["", "an example"], ...listed.map(choice)]));
  byId("synthesize").replaceChildren(...options([["", "Nothing"], ...synthesizers.map(choice)]));
  filterPerspectives();
  showPicked();
}

function pick(name, checked) {
  if (checked) chosen.add(name);
  else chosen.delete(name);
  showPicked();
}

function showPicked() {
  const names = [...chosen].map(titleOf);
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

async function startFrom(name) {
  try {
    const { description, variables, json_schema, schema } = await describe(name);
    const { prompt, context_template, table_columns } = schema;
    const copied = { name: `my_${name}`, description, prompt, variables, json_schema, table_columns, context_template };
    byId("editor").value = JSON.stringify(copied, null, 2);
    byId("editor").oninput();
  } catch (error) {
    showMistakes([{ pointer: "", message: error.message }]);
  }
}

/** Return the perspective in the editor, or null after showing why it is none. */
function readOwn() {
  try {
    const own = JSON.parse(byId("editor").value);
    if (!isObject(own)) throw new TypeError("braces are missing around it.");
    byId("mistakes").replaceChildren();
    return own;
  } catch (error) {
    showMistakes([{ pointer: "", message: `This is not a JSON object: ${error.message}` }]);
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
    const input = el("input", { name, placeholder, value: before.get(name) ?? "", required: required === true });
    return el("label", {}, words(name), required === true && " (needed)", input, el("small", {}, String(description)));
  };
  byId("variables").hidden = !variables.size;
  byId("variables").replaceChildren(el("h3", {}, "Variables"), ...[...variables].map(field));
}

function showProviders({ provider, model }) {
  const known = providers.some(({ name }) => name === provider);
  const label = ({ name, title }) => (title.toLowerCase() === name ? title : `${title} (${name})`);
  byId("provider").replaceChildren(...options(providers.map((each) => [each.name, label(each)])));
  byId("provider").value = known ? provider : providers.find(({ is_default }) => is_default)?.name;
  byId("model").value = known ? (model ?? "") : "";
  void showModels();
}

/** List the models that the provider serves now. */
async function showModels() {
  const provider = providers.find(({ name }) => name === byId("provider").value);
  const show = (text, models = []) => {
    if (byId("provider").value !== provider.name) return;
    byId("provided").textContent = text;
    byId("models").replaceChildren(...options(models.map(({ id, name }) => [id, name === id ? "" : name])));
  };
  if (!provider) return;
  byId("model").required = !provider.default_model;
  byId("model").placeholder = provider.default_model || "Choose a model";
  if (provider.kind === "builtin") return show("Measures pixels only. Choose another provider for a real description.");
  if (provider.needs_key && !provider.has_key) return show("No key is configured where the bridge runs.");
  show("Listing models …");
  try {
    const models = await bridge.providers.models(provider.name);
    show(plural(models.length, "model"), models);
    const alone = models.length === 1 && byId("model").required && !byId("model").value;
    if (alone && byId("provider").value === provider.name) byId("model").value = models[0].id;
  } catch (error) {
    show(error.title || "No models listed");
  }
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
  const row = byId("fallback").content.firstElementChild.cloneNode(true);
  row.querySelector("select").replaceChildren(...options(providers.map(({ name }) => [name, name])));
  row.querySelector("button").onclick = () => row.remove();
  byId("fallbacks").append(row);
  row.querySelector("select").focus();
}

/** Return the fields of the request that were filled in, and remember the choice for the next visit. */
export function chosenOptions() {
  const request = { provider: byId("provider").value };
  const add = (name, value) => value && (request[name] = value);
  add("model", byId("model").value.trim());
  for (const name of NUMBERS) if (byId(name).value) request[name] = byId(name).valueAsNumber;
  if (!isOwn() && chosen.size > 1) add("synthesize", byId("synthesize").value);
  add("resize_resolution", byId("resize_resolution").value);
  const context = byId("context").value.trim();
  add("context", context && [context]);
  const variables = [...byId("variables").querySelectorAll("input")].filter(({ value }) => value);
  if (variables.length) request.variables = Object.fromEntries(variables.map(({ name, value }) => [name, value]));
  const fallbacks = [...byId("fallbacks").children].map((row) => {
    const [provider, model, on] = [...row.querySelectorAll("select, input")].map(({ value }) => value.trim());
    return { provider, ...(model ? { model } : {}), on };
  });
  if (fallbacks.length) request.fallbacks = fallbacks;
  memory.setItem(STORED, JSON.stringify({ names: [...chosen], provider: request.provider, model: request.model }));
  return request;
}
