/** Helpers for elements, downloads and words. Text from models and files only ever becomes text nodes. */

/** Return the element with this id. @param {string} id @returns {any} */
export const byId = (id) => document.getElementById(id);

/** Properties and attributes of an element. A class of its own, so that no JSON from elsewhere is taken for them. */
class Properties {
  /** @param {Record<string, any>} values */
  constructor(values) {
    this.values = values;
  }
}

/** Return properties and attributes for `el`. @param {Record<string, any>} values */
export const set = (values) => new Properties(values);

/**
 * Create an element. Children that are not elements become text; empty ones are left out.
 *
 * @param {string} kind tag and classes, such as `p.muted`
 * @param {any[]} rest what `set` returned, if anything, and the children
 * @returns {any}
 */
export function el(kind, ...rest) {
  const [tag, ...classes] = kind.split(".");
  const node = document.createElement(tag);
  if (tag === "button") node.setAttribute("type", "button");
  node.classList.add(...classes);
  const properties = rest[0] instanceof Properties ? rest.shift().values : {};
  for (const [name, value] of Object.entries(properties)) {
    if (name === "data") Object.assign(node.dataset, value);
    else if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...rest.flat().filter(Boolean));
  return node;
}

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
export function size(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Return a storage of the browser, or one in memory where the browser forbids it. */
export function storage(/** @type {"sessionStorage" | "localStorage"} */ name) {
  try {
    return window[name];
  } catch {
    const texts = new Map();
    const getItem = (key) => texts.get(key) ?? null;
    return { getItem, setItem: (key, text) => void texts.set(key, text) };
  }
}

/** Offer content as a file. */
export function download(name, content, type = "application/json") {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  el("a", set({ href: url, download: name })).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
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
 * @param {{id: string, label: Node | string}[]} items
 * @param {{label: string, kind: string, panel: string, selected: string, select: (id: string) => void}} options
 */
export function tabs(items, { label, kind, panel, selected, select }) {
  const list = el(kind, set({ role: "tablist", "aria-label": label }));
  const choose = (id, focus) => {
    for (const tab of list.children) {
      const chosen = tab.dataset.id === id;
      tab.setAttribute("aria-selected", chosen);
      tab.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) tab.focus();
    }
    select(id);
  };
  for (const item of items) {
    const properties = set({
      role: "tab",
      "aria-controls": panel,
      data: { id: item.id },
      onclick: () => choose(item.id),
    });
    list.append(el("button", properties, item.label));
  }
  list.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const place = [...list.children].indexOf(document.activeElement);
    choose(list.children[(place + step + list.children.length) % list.children.length].dataset.id, true);
  };
  choose(selected);
  return list;
}
