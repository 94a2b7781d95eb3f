/** The readable view of a caption's object: fields, chips, tables, and the numbers of boxes on the photo. */
import { el, isObject, words } from "./dom.js";

const SIDES = ["x_min", "y_min", "x_max", "y_max"];
const CHIP = 36;

/** Return whether a value is a box in fractions of the image, as the shipped perspectives write it. */
function isBox(value) {
  const inside = (side) => typeof value[side] === "number" && value[side] >= 0 && value[side] <= 1;
  return isObject(value) && SIDES.every(inside) && value.x_max > value.x_min && value.y_max > value.y_min;
}

/** Return the boxes of a result, each with its label and the object that contains it. */
export function findBoxes(result) {
  const marks = [];
  const walk = (value) => {
    if (Array.isArray(value)) value.forEach(walk);
    if (!isObject(value)) return;
    const box = Object.values(value).find(isBox);
    const texts = [value.label, value.text, value.name, ...Object.values(value)];
    if (box) marks.push({ box, item: value, label: texts.find((text) => typeof text === "string") ?? "" });
    Object.values(value).forEach(walk);
  };
  walk(result);
  return marks;
}

/**
 * Show a result in a list, and on the next call only replace the fields that changed.
 *
 * @param {HTMLElement} root an element that belongs to this result alone
 * @param {Record<string, unknown>} result
 * @param {any} perspective
 */
export function showReadable(root, result, perspective) {
  const columns = (perspective.schema?.table_columns ?? perspective.table_columns ?? []).map((each) => each.name);
  const marks = new Map(findBoxes(result).map(({ item }, number) => [item, number]));
  const named = /** @type {any[]} */ (Object.values(result)).flat().filter((item) => item?.id && item.label);
  const labels = new Map(named.map(({ id, label }) => [id, label]));
  const rows = new Map(/** @type {any[]} */ ([...root.children]).map((row) => [row.dataset.key, row]));
  for (const { key, label, value } of entries(result, perspective.json_schema, columns)) {
    const row = rows.get(key) ?? el("div.field", { data: { key } }, el("dt", {}, label), el("dd"));
    rows.delete(key);
    if (!row.parentNode) root.append(row);
    const json = JSON.stringify(value);
    if (row.json === json) continue;
    row.json = json;
    row.lastChild.replaceChildren(show(value, { columns, marks, labels }));
  }
  for (const row of rows.values()) row.remove();
}

/** Return the fields to show. Neighbours with equal properties, such as severities by category, become one table. */
function entries(result, schema, columns) {
  const shape = (key) => Object.keys(schema?.properties?.[key]?.properties ?? {}).join();
  const keys = Object.keys(result);
  const list = [];
  for (const [place, key] of keys.entries()) {
    const alike = (other) => other && shape(key) && shape(other) === shape(key);
    const row = { [columns[0] ?? "Field"]: words(key), ...result[key] };
    if (alike(keys[place - 1])) list.at(-1).value.push(row);
    else if (alike(keys[place + 1])) list.push({ key, label: "", value: [row] });
    else list.push({ key, label: words(key), value: result[key] });
  }
  return list;
}

function show(value, view) {
  if (Array.isArray(value)) return value.some(isObject) ? table(value.filter(isObject), view) : list(value);
  if (!isObject(value)) return el("p.text", {}, plain(value, view.labels));
  const field = ([key, each]) => el("div.field", {}, el("dt", {}, words(key)), el("dd", {}, show(each, view)));
  return el("dl.fields.nested", {}, Object.entries(value).map(field));
}

/** Return a text for a value that is no object; the id of another object becomes the label of that object. */
function plain(value, labels = new Map()) {
  if (value === null || value === undefined || value === "") return "—";
  if (typeof value === "boolean") return value ? "Yes" : "No";
  return String(labels.get(value) ?? value);
}

function list(values) {
  if (!values.length) return el("p.muted", {}, "None");
  const short = values.every((value) => String(value).length <= CHIP);
  const items = values.map((value) => el("li", {}, plain(value)));
  return el(short ? "ul.chips" : "ul.lines", {}, items);
}

function table(rows, view) {
  const keys = [...new Set(rows.flatMap(Object.keys))].filter((key) => !rows.some((row) => isBox(row[key])));
  const heads = headings(keys, view.columns);
  const boxed = rows.some((row) => view.marks.has(row));
  const cell = (key, value) => {
    if (Array.isArray(value) || isObject(value)) return show(value, view);
    return plain(value, key === "id" ? undefined : view.labels);
  };
  const line = (row) => {
    const number = view.marks.get(row);
    const data = number === undefined ? {} : { box: number };
    const mark =
      data.box !== undefined &&
      el("button.number", { data, "aria-label": `Show ${number + 1} on the photo` }, String(number + 1));
    const cells = heads.map(({ key }) => el("td", {}, cell(key, row[key])));
    return el("tr", { data }, boxed && el("td", {}, mark), cells);
  };
  const names = [...(boxed ? ["#"] : []), ...heads.map(({ name }) => name)];
  const head = names.map((name) => el("th", { scope: "col" }, name));
  const whole = el("table", {}, el("thead", {}, el("tr", {}, head)), el("tbody", {}, rows.map(line)));
  return el("div.scroll", { tabIndex: 0, role: "group", "aria-label": "Table" }, whole);
}

/**
 * Return the columns of a table. `table_columns` gives order and headings where it fits: a heading begins like the
 * property, and where there are as many headings as properties, those left over belong together in their order.
 */
function headings(keys, columns) {
  const bare = (text) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const left = new Set(keys);
  const named = columns.map((name) => {
    const key = [...left].find((each) => bare(each).startsWith(bare(name)));
    left.delete(key);
    return { name, key };
  });
  const found = named.filter(({ key }) => key !== undefined).length;
  const plainHeads = [...left].map((key) => ({ key, name: words(key) }));
  if (keys.length === columns.length && found) {
    return named.map(({ name, key }) => ({ name, key: key ?? plainHeads.shift()?.key }));
  }
  if (!found || found * 2 < columns.length) return keys.map((key) => ({ key, name: words(key) }));
  return [...named.filter(({ key }) => key !== undefined), ...plainHeads];
}
