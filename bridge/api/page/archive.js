/** Exports of captions: JSON, JSON Lines, CSV, and a zip archive of sidecar files. */

const COLUMNS = {
  photo: ({ photo }) => photo,
  perspective: ({ caption }) => caption.perspective,
  provider: ({ caption }) => caption.provider,
  model: ({ caption }) => caption.model,
  rendered: ({ caption }) => caption.rendered,
  result: ({ caption }) => JSON.stringify(caption.result),
  input_tokens: ({ caption }) => caption.usage?.input_tokens,
  output_tokens: ({ caption }) => caption.usage?.output_tokens,
};
const UTF8_NAMES = 0x0800;
const FIRST_DAY = 0x0021; // 1 January 1980, the first day that a zip archive can name

/** Return the content of an export. @param {string} kind @param {{photo: string, caption: any}[]} entries */
export function exported(kind, entries) {
  if (kind === "zip") return zip(sidecars(entries));
  if (kind === "csv") return csv(entries);
  const rows = entries.map(({ photo, caption }) => ({ photo, ...caption }));
  return kind === "jsonl" ? rows.map((row) => `${JSON.stringify(row)}\n`).join("") : JSON.stringify(rows, null, 2);
}

function csv(entries) {
  const rows = entries.map((entry) => Object.values(COLUMNS).map((column) => column(entry)));
  return [Object.keys(COLUMNS), ...rows].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

/** Quote a cell. An apostrophe keeps spreadsheets from running a text as a formula. */
function cell(value) {
  const text = String(value ?? "");
  return `"${(/^[=+\-@\t\r]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;
}

/** Return a text and a JSON file for each caption; equal names are numbered. */
function sidecars(entries) {
  const files = new Map();
  for (const { photo, caption } of entries) {
    const stem = `${photo.replace(/\.[^.]*$/, "")}.${caption.perspective}`
      .replaceAll(/[\\/:*?"<>|\p{Cc}]/gu, "_")
      .replace(/^\.+/, "_");
    let name = stem;
    for (let number = 2; files.has(`${name}.txt`); number += 1) name = `${stem}-${number}`;
    files.set(`${name}.txt`, `${caption.rendered}\n`);
    files.set(`${name}.json`, JSON.stringify(caption, null, 2));
  }
  return files;
}

/** Return a zip archive without compression (APPNOTE 4.3). @param {Map<string, string>} files */
function zip(files) {
  const encoder = new TextEncoder();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [path, text] of files) {
    const name = encoder.encode(path);
    const content = encoder.encode(text);
    const sizes = u32(crc32(content), content.length, content.length);
    const entry = [u16(20, UTF8_NAMES, 0, 0, FIRST_DAY), sizes, u16(name.length, 0)];
    const local = [u32(0x04034b50), ...entry, name, content];
    directory.push(u32(0x02014b50), u16(20), ...entry, u16(0, 0, 0), u32(0, offset), name);
    parts.push(...local);
    offset += length(local);
  }
  const end = [u32(0x06054b50), u16(0, 0, files.size, files.size), u32(length(directory), offset), u16(0)];
  return new Blob([...parts, ...directory, ...end]);
}

const length = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
const u16 = (...numbers) => Uint8Array.from(numbers.flatMap((number) => [number, number >>> 8]));
const u32 = (...numbers) => u16(...numbers.flatMap((number) => [number, number >>> 16]));

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
