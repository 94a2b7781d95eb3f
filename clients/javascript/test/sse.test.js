import assert from "node:assert/strict";
import { test } from "node:test";
import { parseServerSentEvents } from "../bridge.js";
import { collect } from "./harness.js";

const message = (/** @type {string} */ data, event = "message") => ({ event, data });
/** @type {Record<string, [string, {event: string, data: string}[]]>} */
const TABLE = {
  "an event": ["event: partial\ndata: {}\n\n", [message("{}", "partial")]],
  "the name counts for one event": ["event: a\ndata: 1\n\ndata: 2\n\n", [message("1", "a"), message("2")]],
  "CRLF": ["event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [message("1", "a"), message("2")]],
  "CR": ["data: 1\r\rdata: 2\r\r", [message("1"), message("2")]],
  "mixed line ends": ["data: 1\r\n\ndata: 2\n\r\n", [message("1"), message("2")]],
  "comments": [": ping\n\ndata: 1\n: ping\ndata: 2\n\n: ping\n\n", [message("1\n2")]],
  "several data lines": ["data: 1\ndata:\ndata: 3\n\n", [message("1\n\n3")]],
  "one space is removed": ["data:1\n\ndata:  2\n\n", [message("1"), message(" 2")]],
  "a line without a colon": ["data\n\ndata\ndata\n\n", [message(""), message("\n")]],
  "colons in the data": ["data: a: b\n\n", [message("a: b")]],
  "unknown fields": ["id: 7\nretry: 10\nother: x\ndata: 1\n\n", [message("1")]],
  "an event without data": ["event: a\n\ndata: 1\n\n", [message("1")]],
  "an event that is cut off": ["data: 1\n\ndata: 2\n", [message("1")]],
  "a byte order mark": ["\uFEFFdata: 1\n\n", [message("1")]],
  "text beyond ASCII": ["data: 温かい 🐈\n\n", [message("温かい 🐈")]],
  "nothing": ["", []],
};

/** @param {Uint8Array[]} chunks */
function streamOf(chunks) {
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
}

for (const [name, [text, expected]] of Object.entries(TABLE)) {
  test(`${name}, in chunks of every size`, async () => {
    const bytes = new TextEncoder().encode(text);
    for (let size = 1; size <= bytes.length + 1; size += 1) {
      const chunks = [];
      for (let start = 0; start < bytes.length; start += size) chunks.push(bytes.slice(start, start + size));
      assert.deepEqual(await collect(parseServerSentEvents(streamOf(chunks))), expected, `chunks of ${size} bytes`);
    }
  });
}

test("an event is yielded before the byte after its empty line", async () => {
  for (const text of ["data: 1\n\n", "data: 1\r\r", "data: 1\r\n\r\n"]) {
    const stream = new ReadableStream({ start: (controller) => controller.enqueue(new TextEncoder().encode(text)) });
    const events = parseServerSentEvents(stream);
    assert.deepEqual((await events.next()).value, message("1"));
    await events.return();
  }
});

test("leaving the loop cancels the stream", async () => {
  let cancelled = false;
  const stream = new ReadableStream({
    start: (controller) => controller.enqueue(new TextEncoder().encode("data: 1\n\n")),
    cancel: () => void (cancelled = true),
  });
  for await (const _ of parseServerSentEvents(stream)) break;
  assert.ok(cancelled);
});

test("a line of 4 MiB in many chunks", async () => {
  const chunk = new TextEncoder().encode("x".repeat(4096));
  const chunks = [new TextEncoder().encode("data: "), ...Array(1024).fill(chunk), new TextEncoder().encode("\n\n")];
  const [event] = await collect(parseServerSentEvents(streamOf(chunks)));
  assert.equal(event.data.length, 4 * 1024 * 1024);
});
