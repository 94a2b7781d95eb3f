/** Helpers for elements, downloads and words. Text from models and files only ever becomes text nodes. */

/** Return the element with this id. @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/**
 * Create an element. Children that are not elements become text; empty ones are left out.
 *
 * @param {string} kind tag and classes, such as `p.muted`
 * @param {Record<string, any>} properties properties, attributes and, as `data`, data attributes
 * @param {any[]} children
 * @returns {any}
 */
export function el(kind, properties = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (tag === "button") node.setAttribute("type", "button");
  node.classList.add(...classes);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(node.dataset, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.flat().filter(Boolean));
  return node;
}

/** Create the options of a select. @param {string[][]} choices values and texts */
export const options = (choices) => choices.map(([value, text]) => el("option", { value }, text));

/** Return a key such as `dense_caption` as words. */
export function words(key) {
  const text = String(key).replaceAll("_", " ").trim();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
export const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;
export const dollars = (amount) => `$${amount.toPrecision(2)}`;
export const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/** Return a number of bytes in the largest unit that fits. */
export const size = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** Return the value of a JSON text, null where it is none. */
export function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Return a storage of the browser, or one in memory where the browser forbids it. */
export function storage(/** @type {"sessionStorage" | "localStorage"} */ name) {
  try {
    return window[name];
  } catch {
    const texts = new Map();
    return { getItem: (key) => texts.get(key) ?? null, setItem: (key, text) => void texts.set(key, text) };
  }
}

/** Offer content as a file. */
export function download(name, content, type = "application/json") {
  const href = URL.createObjectURL(new Blob([content], { type }));
  el("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

/** Copy text, and say so on the button for a moment. */
export async function copy(button, text) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

/**
 * Create a tab list. Arrow keys move between tabs.
 *
 * @param {string[]} ids
 * @param {{label: string, kind: string, panel: string, selected: string, select: (id: string) => void,
 *   title?: (id: string) => Node | string}} options
 */
export function tabs(ids, { label, kind, panel, selected, select, title = (id) => id }) {
  const tab = (id) =>
    el("button", { role: "tab", "aria-controls": panel, data: { id }, onclick: () => choose(id) }, title(id));
  const buttons = ids.map(tab);
  const choose = (id) => {
    for (const button of buttons) {
      const chosen = button.dataset.id === id;
      button.setAttribute("aria-selected", chosen);
      button.tabIndex = chosen ? 0 : -1;
    }
    select(id);
  };
  const onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = buttons.at((buttons.indexOf(document.activeElement) + step) % buttons.length);
    next.focus();
    next.click();
  };
  choose(selected);
  return el(kind, { role: "tablist", "aria-label": label, onkeydown }, buttons);
}
