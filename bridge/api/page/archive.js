/** Exports of captions: JSON, JSON Lines, CSV, and a zip archive of sidecar files. */

const COLUMNS = ["photo", "perspective", "provider", "model", "rendered", "result", "input_tokens", "output_tokens"];
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
  const row = ({ photo, caption }) => {
    const { perspective, provider, model, rendered, result, usage } = caption;
    return [
      photo,
      perspective,
      provider,
      model,
      rendered,
      JSON.stringify(result),
      usage?.input_tokens,
      usage?.output_tokens,
    ];
  };
  return [COLUMNS, ...entries.map(row)].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
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

/** Return a zip archive without compression (APPNOTE 4.3). @param {Map<string, string>} files @returns {Blob} */
export function zip(files) {
  const encoder = new TextEncoder();
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [path, text] of files) {
    const name = encoder.encode(path);
    const content = encoder.encode(text);
    const shared = [
      2,
      UTF8_NAMES,
      2,
      0,
      2,
      0,
      2,
      FIRST_DAY,
      4,
      crc32(content),
      4,
      content.length,
      4,
      content.length,
      2,
      name.length,
      2,
      0,
    ];
    const local = numbers(4, 0x04034b50, 2, 20, ...shared);
    directory.push(numbers(4, 0x02014b50, 2, 20, 2, 20, ...shared, 2, 0, 2, 0, 2, 0, 4, 0, 4, offset), name);
    parts.push(local, name, content);
    offset += local.length + name.length + content.length;
  }
  const length = directory.reduce((sum, part) => sum + part.length, 0);
  const end = numbers(4, 0x06054b50, 2, 0, 2, 0, 2, files.size, 2, files.size, 4, length, 4, offset, 2, 0);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Write little-endian numbers. @param {number[]} fields width in bytes and value, in turns */
function numbers(...fields) {
  const bytes = [];
  for (let at = 0; at < fields.length; at += 2) {
    for (let shift = 0; shift < 8 * fields[at]; shift += 8) bytes.push((fields[at + 1] >>> shift) & 0xff);
  }
  return Uint8Array.from(bytes);
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
