import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { Bridge, BridgeError } from "../bridge.js";
import { answer, bridge, collect, control, failure, key, keyedUrl, options, photo, reply, url } from "./harness.js";

/** @type {import("../bridge.js").BridgeSocket[]} */
const open = [];
/** @param {import("../types.d.ts").SocketOptions} [settings] */
function connect(settings, from = bridge) {
  const socket = from.connect(settings);
  open.push(socket);
  return socket;
}

beforeEach(() => control("reset"));
afterEach(() => open.splice(0).forEach((socket) => socket.close()));

test("many requests on one socket, each with its own events", async () => {
  const socket = connect();
  const images = [photo, new Blob([photo]), photo];
  const captions = await Promise.all(images.map((each) => socket.caption(each, "look", options)));
  assert.deepEqual(captions.map((each) => each.result), [answer, answer, answer]);
  const events = await collect(socket.captionStream(photo, "look", options));
  assert.equal(new Set(events.map((event) => event.id)).size, 1);
  assert.deepEqual([events[0].type, events.at(-1).type], ["started", "done"]);
});

test("an analysis has the same form over a socket as over HTTP", async () => {
  await reply({ Refusal: {} });
  const settings = { ...options, synthesize: "alt_text" };
  const socket = connect();
  await control("default", { reply: { Answer: {} } });
  assert.equal((await failure(socket.analyze(photo, ["look"], settings))).code, "refused");
  const [one, two] = [socket, bridge].map((each) => each.analyze(photo, ["look", "art_critic"], settings));
  const [overSocket, overHttp] = [await one, await two];
  assert.deepEqual(Object.keys(overSocket ?? {}).sort(), Object.keys(overHttp ?? {}).sort());
  assert.deepEqual(Object.keys(overSocket?.results ?? {}), ["look", "art_critic"]);
  assert.equal(overSocket?.synthesis?.perspective, "alt_text");
  assert.deepEqual(overSocket?.image, overHttp?.image);
});

test("an analysis in which all perspectives fail has the error of each", async () => {
  await control("default", { reply: { Refusal: {} } });
  const error = await failure(connect().analyze(photo, ["look", "alt_text"], options));
  assert.deepEqual([error.code, error.status], ["refused", 422]);
  assert.deepEqual(Object.keys(error.perspectives).sort(), ["alt_text", "look"]);
});

test("errors of one request leave the others alone", async () => {
  const socket = connect();
  await reply({ Refusal: {} });
  const refused = await failure(socket.caption(photo, "look", options));
  assert.deepEqual([refused.code, refused.provider], ["refused", "studio"]);
  const [unknown, invalid, fine] = await Promise.all([
    failure(socket.caption(photo, "lok", options)),
    failure(socket.caption(photo, "look", { ...options, temperature: 9 })),
    socket.caption(photo, "look", options),
  ]);
  assert.deepEqual([unknown.code, unknown.begun], ["unknown_perspective", false]);
  assert.deepEqual([invalid.code, invalid.problems[0].pointer], ["invalid_request", "/temperature"]);
  assert.deepEqual(fine.result, answer);
});

test("a frame that is too large is an error of its request", async () => {
  const socket = connect();
  const small = socket.caption(photo, "look", options);
  const large = failure(socket.caption(new Uint8Array(24 * 1024 * 1024), "look", options));
  assert.equal((await large).code, "body_too_large");
  assert.deepEqual((await small).result, answer);
});

for (const [name, leave] of /** @type {const} */ ([
  ["leaving the loop", (/** @type {AbortController} */ _) => true],
  ["an abort", (/** @type {AbortController} */ controller) => void controller.abort(new Error("changed my mind"))],
])) {
  test(`${name} cancels the request and frees its place`, async () => {
    const socket = connect({ concurrency: 1 });
    await reply({ Hang: { after: "first" } });
    const controller = new AbortController();
    const read = async () => {
      for await (const event of socket.captionStream(photo, "look", { ...options, signal: controller.signal })) {
        if (event.type !== "progress" || event.stage !== "model") continue;
        await control("wait", { calls: 1 });
        if (leave(controller)) return "left";
      }
    };
    assert.equal(await read().catch((error) => error.message), name === "an abort" ? "changed my mind" : "left");
    await control("wait", { hang_ups: 1 });
    assert.deepEqual((await socket.caption(photo, "look", options)).result, answer);
  });
}

/** Return a bridge whose sockets record what they send and receive. @param {(type: string) => void} received */
function recorded(received) {
  /** @type {string[]} */
  const sent = [];
  class Recorded extends WebSocket {
    /** @param {string} address */
    constructor(address) {
      super(address);
      this.addEventListener("message", ({ data }) => received(JSON.parse(data).type));
    }

    /** @override @param {string} frame */
    send(frame) {
      sent.push(JSON.parse(frame).type);
      super.send(frame);
    }
  }
  return { sent, bridge: new Bridge({ baseUrl: url, WebSocket: /** @type {any} */ (Recorded) }) };
}

test("no more requests are sent than may run at a time; one that waits can be cancelled", async () => {
  const { sent, bridge } = recorded(() => {});
  const socket = connect({ concurrency: 2 }, bridge);
  await reply({ Hang: {} }, { Hang: {} });
  const first = new AbortController();
  const running = [1, 2].map(() => failure(socket.caption(photo, "look", { ...options, signal: first.signal })));
  await control("wait", { calls: 2 });
  const second = new AbortController();
  const waiting = failure(socket.caption(photo, "look", { ...options, signal: second.signal }));
  const last = socket.caption(photo, "look", options);
  second.abort();
  assert.equal((await waiting).name, "AbortError");
  first.abort();
  for (const error of await Promise.all(running)) assert.equal(error.name, "AbortError");
  assert.deepEqual((await last).result, answer);
  assert.deepEqual(sent, ["caption", "caption", "cancel", "cancel", "caption"]);
});

test("images of requests that wait are not read yet", async () => {
  const socket = connect({ concurrency: 1 });
  let reads = 0;
  class Counted extends Blob {
    /** @override */
    arrayBuffer() {
      reads += 1;
      return super.arrayBuffer();
    }
  }
  await reply({ Hang: {} });
  const controller = new AbortController();
  const first = failure(socket.caption(new Counted([photo]), "look", { ...options, signal: controller.signal }));
  const others = [1, 2, 3].map(() => socket.caption(new Counted([photo]), "look", options));
  await control("wait", { calls: 1 });
  assert.equal(reads, 1);
  controller.abort();
  await first;
  for (const caption of others) assert.deepEqual((await caption).result, answer);
  assert.equal(reads, 4);
});

test("an image that cannot be read is an error of its request", async () => {
  class Broken extends Blob {
    /** @override @returns {Promise<ArrayBuffer>} */
    async arrayBuffer() {
      throw new Error("the file has changed");
    }
  }
  const socket = connect({ concurrency: 1 });
  const broken = failure(socket.caption(new Broken([photo]), "look", options));
  const fine = socket.caption(photo, "look", options);
  assert.equal((await broken).message, "the file has changed");
  assert.deepEqual((await fine).result, answer);
});

test("a slow reader gets the newest partial object, and every other event", async () => {
  /** @type {any[]} */
  const received = [];
  /** @type {(value?: undefined) => void} */
  let finish = () => {};
  const finished = new Promise((resolve) => (finish = resolve));
  const { bridge } = recorded((type) => {
    received.push(type);
    if (type === "done") finish();
  });
  await reply({ Drip: { interval: 0.02, size: 64, of: { Answer: { pieces: 12 } } } });
  const stream = connect({}, bridge).captionStream(photo, "look", options);
  const first = await stream.next();
  await finished;
  const read = [first.value, ...(await collect(stream))].map((event) => event.type);
  const count = (/** @type {any[]} */ types) => types.filter((type) => type === "partial").length;
  assert.ok(count(received) > 1, received.join());
  assert.ok(count(read) <= 1, read.join());
  assert.deepEqual(
    read.filter((type) => type !== "partial"),
    received.filter((type) => type !== "partial"),
  );
});

test("the first frame shows the key", async () => {
  const keyed = new Bridge({ baseUrl: keyedUrl, apiKey: key });
  const caption = await connect({}, keyed).caption(photo, "alt_text", { provider: "builtin" });
  assert.equal(caption.perspective, "alt_text");
  const wrong = connect({}, new Bridge({ baseUrl: keyedUrl, apiKey: "another" }));
  const errors = [1, 2].map(() => failure(wrong.caption(photo, "alt_text")));
  for (const error of await Promise.all(errors)) {
    assert.ok(error instanceof BridgeError);
    assert.deepEqual([error.code, error.begun], ["unauthorized", false]);
  }
});

test("after the bridge is killed, begun requests fail and waiting requests go to the next connection", async () => {
  /** @type {string[]} */
  const states = [];
  const patient = new Bridge({ baseUrl: url, retry: { limit: 100, maxDelay: 1 } });
  const socket = connect({ concurrency: 1, onStateChange: (state) => states.push(state) }, patient);
  await reply({ Hang: { after: "first" } });
  const begun = failure(socket.caption(photo, "look", options));
  await control("wait", { calls: 1 });
  const waiting = socket.caption(photo, "look", options);
  await control("kill");
  const lost = await begun;
  assert.ok(lost instanceof BridgeError);
  assert.deepEqual([lost.code, lost.retryable, lost.begun], ["connection_lost", true, true]);
  await control("start");
  assert.deepEqual((await waiting).result, answer);
  assert.deepEqual((await socket.caption(photo, "look", options)).result, answer);
  assert.deepEqual(states.slice(0, 3), ["connecting", "open", "closed"]);
  assert.deepEqual([states.at(-1), socket.state], ["open", "open"]);
});

test("a request that a bridge in its shutdown refuses goes to the next connection", { timeout: 60_000 }, async () => {
  const socket = connect({}, new Bridge({ baseUrl: url, retry: false }));
  await reply({ Drip: { interval: 0.1, size: 64, of: { Answer: {} } } });
  const begun = socket.caption(photo, "look", options);
  await control("wait", { calls: 1 });
  const down = control("terminate");
  while ((await fetch(`${url}/readyz`)).ok) await new Promise((resolve) => setTimeout(resolve, 20));
  const refused = failure(socket.caption(photo, "look", options));
  assert.equal((await begun).perspective, "look");
  assert.equal((await refused).code, "connection_failed", "there is no next connection, because the bridge is gone");
  await down;
});

test("a bridge that stays away is an error, and the socket serves again later", async () => {
  const socket = connect({}, new Bridge({ baseUrl: url, retry: false }));
  await socket.caption(photo, "look", options);
  await control("kill");
  const error = await failure(socket.caption(photo, "look", options));
  assert.ok(["connection_failed", "connection_lost"].includes(error.code));
  assert.equal((await failure(socket.caption(photo, "look", options))).code, "connection_failed");
  await control("start");
  assert.deepEqual((await socket.caption(photo, "look", options)).result, answer);
});

test("closing the socket ends its requests, and it opens no more", async () => {
  const socket = connect();
  await reply({ Hang: {} });
  const running = failure(socket.caption(photo, "look", options));
  await control("wait", { calls: 1 });
  socket.close();
  assert.equal((await running).code, "socket_closed");
  await control("wait", { hang_ups: 1 });
  assert.equal((await failure(socket.caption(photo, "look", options))).code, "socket_closed");
});

test("a runtime without WebSocket gets an error with the remedy", () => {
  const { WebSocket } = globalThis;
  try {
    Reflect.deleteProperty(globalThis, "WebSocket");
    assert.throws(() => bridge.connect(), /Pass one as `WebSocket`/);
    connect({}, new Bridge({ baseUrl: url, WebSocket }));
  } finally {
    globalThis.WebSocket = WebSocket;
  }
});

test("a frame that the rate limit refuses unread is an error of its request", async () => {
  const socket = connect({}, new Bridge({ baseUrl: keyedUrl, apiKey: key, retry: false }));
  let error;
  do error = await failure(socket.caption(photo, "lok"));
  while (error.code === "unknown_perspective");
  assert.equal(error.code, "rate_limited");
  error = await failure(socket.caption(new Uint8Array(24 * 1024 * 1024), "alt_text"));
  assert.deepEqual([error.code, error.begun, socket.state], ["rate_limited", false, "open"]);
});
