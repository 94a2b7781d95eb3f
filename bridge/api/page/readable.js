/** The readable view of a caption's object: fields, chips, tables, and the numbers of boxes on the photo. */
import { el, isObject, set, words } from "./dom.js";

const SIDES = ["x_min", "y_min", "x_max", "y_max"];
const CHIP = 36;

/** Return whether a value is a box in fractions of the image, as the shipped perspectives write it. */
export function isBox(value) {
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
    if (box) marks.push({ box, item: value, label: labelOf(value) });
    Object.values(value).forEach(walk);
  };
  walk(result);
  return marks;
}

function labelOf(item) {
  const label = item.label ?? item.text ?? item.name ?? Object.values(item).find((value) => typeof value === "string");
  return String(label ?? "");
}

/**
 * Show a result in a list, and on the next call only replace the fields that changed.
 *
 * @param {HTMLElement} root an element that belongs to this result alone
 * @param {Record<string, unknown>} result
 * @param {any} perspective
 */
export function showReadable(root, result, perspective) {
  const columns = (perspective.schema?.table_columns ?? perspective.table_columns ?? []).map(({ name }) => name);
  const marks = new Map(findBoxes(result).map(({ item }, number) => [item, number]));
  const named = /** @type {any[]} */ (Object.values(result)).flat().filter((item) => item?.id && item.label);
  const labels = new Map(named.map(({ id, label }) => [id, label]));
  const view = { columns, marks, labels };
  const fields = entries(result, perspective.json_schema, columns);
  const keys = new Set(fields.map(({ key }) => key));
  for (const row of /** @type {any[]} */ ([...root.children])) if (!keys.has(row.dataset.key)) row.remove();
  for (const { key, label, value } of fields) {
    let row = /** @type {any} */ ([...root.children]).find((each) => each.dataset.key === key);
    if (!row) {
      row = el("div.field", set({ data: { key } }), el("dt", label), el("dd"));
      root.append(row);
    }
    const json = JSON.stringify(value);
    if (row.json === json) continue;
    row.json = json;
    row.lastChild.replaceChildren(show(value, view));
  }
}

/** Return the fields to show. Neighbours with equal properties, such as severities by category, become one table. */
function entries(result, schema, columns) {
  const shape = (key) => Object.keys(schema?.properties?.[key]?.properties ?? {}).join();
  const titled = (key) => ({ [columns[0] ?? "Field"]: words(key), ...result[key] });
  const keys = Object.keys(result);
  const list = [];
  for (const [place, key] of keys.entries()) {
    const alike =
      shape(key) && [keys[place - 1], keys[place + 1]].some((other) => other && shape(other) === shape(key));
    const rows = list.at(-1);
    if (!alike) list.push({ key, label: words(key), value: result[key] });
    else if (rows?.shape === shape(key)) rows.value.push(titled(key));
    else list.push({ key, label: "", shape: shape(key), value: [titled(key)] });
  }
  return list;
}

function show(value, view) {
  if (Array.isArray(value)) return value.some(isObject) ? table(value.filter(isObject), view) : list(value);
  if (isObject(value)) {
    const row = ([key, each]) => el("div.field", el("dt", words(key)), el("dd", show(each, view)));
    return el("dl.fields.nested", Object.entries(value).map(row));
  }
  return el("p.text", plain(value, view));
}

function plain(value, view) {
  if (value === null || value === undefined || value === "") return "—";
  if (typeof value === "boolean") return value ? "Yes" : "No";
  return String(view?.labels.get(value) ?? value);
}

function list(values) {
  if (!values.length) return el("p.muted", "None");
  const short = values.every((value) => String(value).length <= CHIP);
  return el(
    short ? "ul.chips" : "ul.lines",
    values.map((value) => el("li", plain(value))),
  );
}

function table(rows, view) {
  const keys = [...new Set(rows.flatMap(Object.keys))].filter((key) => !rows.some((row) => isBox(row[key])));
  const heads = headings(keys, view.columns);
  const boxed = rows.some((row) => view.marks.has(row));
  const cell = (value) => el("td", Array.isArray(value) || isObject(value) ? show(value, view) : plain(value, view));
  const line = (row) => {
    const number = view.marks.get(row);
    const button = set({ data: { box: number }, "aria-label": `Show ${number + 1} on the photo` });
    const mark = number === undefined ? "" : el("button.number", button, String(number + 1));
    const ownId = { ...view, labels: new Map() }; // the cell with the id itself keeps it
    const cells = heads.map(({ key }) => (key === "id" ? el("td", plain(row[key], ownId)) : cell(row[key])));
    return el("tr", set({ data: number === undefined ? {} : { box: number } }), boxed ? el("td", mark) : null, cells);
  };
  const names = [...(boxed ? ["#"] : []), ...heads.map(({ name }) => name)];
  const head = el(
    "tr",
    names.map((name) => el("th", set({ scope: "col" }), name)),
  );
  const whole = el("table", el("thead", head), el("tbody", rows.map(line)));
  return el("div.scroll", set({ tabIndex: 0, role: "group", "aria-label": "Table" }), whole);
}

/**
 * Return the columns of a table. `table_columns` gives order and headings where it fits: a heading begins like the
 * property, and where there are as many headings as properties, those left over belong together in their order.
 */
function headings(keys, columns) {
  const bare = (text) => text.toLowerCase().replaceAll(/[^a-z0-9]/g, "");
  const left = [...keys];
  const takeKey = (key) => left.splice(left.indexOf(key), 1)[0];
  const named = columns.map((name) => {
    const key = left.find((each) => bare(each).startsWith(bare(name)));
    return { name, key: key && takeKey(key) };
  });
  const found = named.filter(({ key }) => key);
  const fits = found.length && (found.length * 2 >= columns.length || keys.length === columns.length);
  if (!fits) return keys.map((key) => ({ key, name: words(key) }));
  if (keys.length === columns.length) for (const column of named) column.key ??= left.shift();
  return [...named.filter(({ key }) => key), ...left.map((key) => ({ key, name: words(key) }))];
}
