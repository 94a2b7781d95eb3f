import assert from "node:assert/strict";
import { createServer } from "node:http";
import { beforeEach, test } from "node:test";
import { Bridge, BridgeError } from "../bridge.js";
import { answer, bridge, collect, control, failure, key, keyedUrl, options, photo, reply, url } from "./harness.js";

beforeEach(() => control("reset"));

const INLINE = {
  name: "mood",
  prompt: "Say which mood the image has.",
  json_schema: {
    ...{ type: "object", additionalProperties: false },
    ...{ properties: { mood: { type: "string" } }, required: ["mood"] },
  },
};
const base64 = photo.toString("base64");
/** Refuse the first requests as a bridge without capacity does, and pass the others on. @param {number} count */
function refusing(count, headers = { "x-request-begun": "no" }) {
  const problem = { code: "overloaded", status: 503, retryable: true, retry_after: 0.01 };
  const calls = { count: 0 };
  /** @type {typeof fetch} */
  const refuse = async (input, init) => {
    calls.count += 1;
    if (calls.count > count) return fetch(input, init);
    return Response.json(problem, { status: 503, headers });
  };
  return { fetch: refuse, calls };
}


/** Return an address at which nothing listens. */
async function closedUrl() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

/** @type {Record<string, () => import("../types.d.ts").ImageInput>} */
const IMAGES = {
  "a Blob": () => new Blob([photo]),
  "a File": () => new File([photo], "photo.jpg", { type: "image/jpeg" }),
  "an ArrayBuffer": () => new Uint8Array(photo).buffer,
  "a view of a buffer": () => photo,
  "a data URI": () => `data:image/jpeg;base64,${base64}`,
  "a URL of data": () => new URL(`data:image/jpeg;base64,${base64}`),
  "an address of a blob": () => URL.createObjectURL(new Blob([photo])),
  "a reference": () => ({ base64 }),
};
for (const [name, image] of Object.entries(IMAGES)) {
  test(`caption of ${name}`, async () => {
    const caption = await bridge.caption(image(), "look", options);
    assert.deepEqual(caption.result, answer);
    assert.equal(caption.image.width, 600);
  });
}

test("a string is a path of the workspace, or an address", async () => {
  assert.equal((await failure(bridge.caption("absent.jpg", "look", options))).code, "image_not_found");
  assert.equal((await failure(bridge.caption("/workspace/absent.jpg", "look", options))).code, "image_not_found");
  assert.equal((await failure(bridge.caption("http://127.0.0.1:9/a.jpg", "look", options))).code, "address_refused");
  await assert.rejects(bridge.caption(new URL("file:///etc/passwd"), "look"), TypeError);
});

test("the request's fields reach the bridge, with an upload and without", async () => {
  const fields = { ...options, context: ["At the fair."], variables: { subject: "the cup" }, temperature: 0.2 };
  await bridge.caption(photo, "look", fields);
  await bridge.caption({ base64 }, "look", fields);
  assert.equal(await control("calls"), 2);
  const error = await failure(bridge.caption(photo, "look", { ...options, variables: { sbject: "" } }));
  assert.equal(error.code, "invalid_request");
  assert.match(error.message, /sbject/);
});

test("a perspective of one's own", async () => {
  await reply({ Answer: { content: { mood: "calm" } } });
  const caption = await bridge.caption(photo, INLINE, options);
  assert.deepEqual([caption.perspective, caption.result.mood], ["mood", "calm"]);
});

test("analysis: what succeeded, what failed, and the synthesis", async () => {
  await reply({ Refusal: {} }, { Answer: {} }, { Answer: {} });
  const analysis = await bridge.analyze(photo, ["look", INLINE], { ...options, synthesize: "synthesized_caption" });
  assert.deepEqual([...Object.keys(analysis.results), ...Object.keys(analysis.errors)].sort(), ["look", "mood"]);
  assert.equal(Object.values(analysis.errors)[0]?.code, "refused");
  assert.equal(analysis.synthesis?.perspective, "synthesized_caption");
});

test("an analysis in which all perspectives fail has the error of each", async () => {
  await control("default", { reply: { Refusal: {} } });
  const error = await failure(bridge.analyze(photo, ["look", INLINE], options));
  assert.deepEqual([error.code, error.status, error.problems], ["refused", 422, []]);
  assert.deepEqual(Object.keys(error.perspectives), ["look", "mood"]);
  assert.equal(error.perspectives.mood.code, "refused");
});

test("perspectives, providers and health", async () => {
  const names = (await bridge.perspectives.list()).map((each) => each.name);
  assert.ok(names.includes("look") && names.includes("alt_text"));
  assert.equal((await bridge.perspectives.get("look")).name, "look");
  assert.equal((await bridge.health()).status, "healthy");
  assert.ok((await bridge.providers.list()).some((each) => each.name === "studio"));
  assert.equal((await bridge.providers.models("studio"))[0]?.id, "tiny-vision");
  assert.equal((await bridge.providers.models({ kind: "builtin" }))[0]?.id, "measurements");
  assert.equal((await bridge.providers.test("studio")).status, "success");
  const closed = { kind: "openai-compatible", base_url: "http://127.0.0.1:9", name: "a/b" };
  assert.equal((await bridge.providers.test(closed, { model: "m" })).status, "failed");
});

test("baseUrl: trailing slashes and /api/v1 are accepted", async () => {
  for (const baseUrl of [`${url}/`, `${url}//`, `${url}/api/v1`, `${url}/api/v1/`, new URL(url)]) {
    assert.equal((await new Bridge({ baseUrl }).health()).status, "healthy");
  }
});

test("baseUrl: an address without a scheme is rejected", () => {
  assert.throws(() => new Bridge({ baseUrl: "localhost:32100" }), /must begin with http/);
});

test("the API key is sent", async () => {
  const error = await failure(new Bridge({ baseUrl: keyedUrl }).perspectives.list());
  assert.deepEqual([error.code, error.status, error.retryable, error.begun], ["unauthorized", 401, false, false]);
  assert.ok((await new Bridge({ baseUrl: keyedUrl, apiKey: key }).perspectives.list()).length);
});

// Errors. Each class of failure is a BridgeError with the code of the bridge.

/** @type {Record<string, [object[], object, object]>} behaviours of the model server, options, members of the error */
const FAILURES = {
  "the model refuses": [[{ Refusal: {} }], {}, { code: "refused", status: 422, provider: "studio" }],
  "the answer is cut off": [[{ Length: {} }], {}, { code: "answer_truncated", status: 502 }],
  "the answer does not fit": [
    [{ WrongSchema: {} }],
    { max_output_retries: 0 },
    { code: "answer_invalid", status: 502, retryable: true },
  ],
  "the time is over": [[{ Hang: {} }], { timeout: 0.3 }, { code: "timeout", status: 504, retryable: true }],
  "the provider limits its rate": [
    [{ Status: { code: 429, retry_after: 300 } }],
    { headers: { "X-Provider-Key": process.env.STUDIO_KEY ?? "" } },
    { code: "provider_rate_limited", status: 429, retryable: true, retryAfter: 300 },
  ],
  "a field is out of range": [[], { temperature: 9 }, { code: "invalid_request", status: 422 }],
};
for (const [name, [behaviours, more, expected]] of Object.entries(FAILURES)) {
  test(`error: ${name}`, async () => {
    await reply(...behaviours);
    const error = await failure(bridge.caption(photo, "look", { ...options, ...more }));
    assert.ok(error instanceof BridgeError && error instanceof Error);
    const members = Object.fromEntries(Object.keys(expected).map((each) => [each, Reflect.get(error, each)]));
    assert.deepEqual(members, expected);
    assert.match(error.requestId ?? "", /^[0-9a-f-]{8,}$/);
    assert.equal(error.attempts.length, behaviours.length);
    assert.equal(await control("calls"), behaviours.length, "a call that may have cost something is not repeated");
  });
}

test("error: mistakes have pointers", async () => {
  const wrong = /** @type {any} */ ({ temperature: 9, colour: 1 });
  const { problems } = await failure(bridge.caption(photo, "look", wrong));
  assert.deepEqual(problems.map((/** @type {any} */ each) => each.pointer).sort(), ["/colour", "/temperature"]);
});

test("error: the file is not an image", async () => {
  const error = await failure(bridge.caption(new Blob(["GIF89a?"]), "look", options));
  assert.ok(["invalid_image", "unsupported_image"].includes(error.code), error.code);
});

test("error: nothing listens there", async () => {
  const baseUrl = await closedUrl();
  const error = await failure(new Bridge({ baseUrl, retry: false }).caption(photo, "look"));
  assert.deepEqual([error.code, error.status, error.retryable, error.begun], ["connection_failed", 0, true, false]);
  assert.ok(error.message.includes(baseUrl), error.message);
});

test("error: another service responds", async (context) => {
  const pages = { "/api/v1/health": 200, "/api/v1/perspectives/list": 502 };
  const server = createServer(({ url = "" }, response) => {
    response.writeHead(Reflect.get(pages, url) ?? 200, { "Content-Type": "text/html", "X-Request-ID": "of-the-proxy" });
    response.end("<h1>Welcome to nginx!</h1>");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  context.after(() => server.close());
  const { port } = /** @type {import("node:net").AddressInfo} */ (server.address());
  const other = new Bridge({ baseUrl: `http://127.0.0.1:${port}` });
  for (const [call, status, retryable] of /** @type {const} */ ([
    [() => other.health(), 200, false],
    [() => other.perspectives.list(), 502, true],
    [() => other.captionStream("a.jpg", "look").next(), 200, false],
  ])) {
    const error = await failure(call());
    assert.deepEqual([error.code, error.status, error.retryable], ["unexpected_response", status, retryable]);
    assert.equal(error.requestId, "of-the-proxy");
  }
});

// Retries: only what began nothing.

test("a request that was not begun is sent again, with its upload", async () => {
  const { fetch, calls } = refusing(2);
  assert.deepEqual((await new Bridge({ baseUrl: url, fetch }).caption(photo, "look", options)).result, answer);
  assert.equal(calls.count, 3);
});

test("retries are bounded, can be turned off, and obey Retry-After", async () => {
  for (const [retry, count] of /** @type {const} */ ([[{ limit: 1 }, 2], [false, 1], [{ maxDelay: 0.001 }, 1]])) {
    const { fetch, calls } = refusing(9);
    assert.equal((await failure(new Bridge({ baseUrl: url, fetch, retry }).health())).code, "overloaded");
    assert.equal(calls.count, count);
  }
});

test("a request that was begun is not sent again", async () => {
  const { fetch, calls } = refusing(9, /** @type {any} */ ({}));
  assert.equal((await failure(new Bridge({ baseUrl: url, fetch }).caption(photo, "look", options))).begun, true);
  assert.equal(calls.count, 1);
});

test("the rate limit of the service is an error with its wait", async () => {
  const keyed = new Bridge({ baseUrl: keyedUrl, apiKey: key, retry: { maxDelay: 1 } });
  const call = () => failure(keyed.caption("absent.jpg", "alt_text"));
  let error = await call();
  while (error.code === "image_not_found") error = await call();
  assert.deepEqual([error.code, error.retryable, error.begun], ["rate_limited", true, false]);
  assert.ok(error.retryAfter > 1);
});

test("an abort ends the wait for a retry", async () => {
  const { fetch } = refusing(9, { "x-request-begun": "no" });
  const controller = new AbortController();
  const slow = new Bridge({
    baseUrl: url,
    fetch: async (...call) => {
      const response = await fetch(...call);
      controller.abort(new Error("no longer wanted"));
      return response;
    },
  });
  assert.equal((await failure(slow.health({ signal: controller.signal }))).message, "no longer wanted");
});

test("calls are retried until the bridge is back", async () => {
  await control("kill");
  const patient = new Bridge({ baseUrl: url, retry: { limit: 100, maxDelay: 1 } });
  const calls = [patient.health(), patient.caption(photo, "look", options)];
  await control("start");
  await Promise.all(calls);
});

// Streams.

test("a stream yields typed events up to done", async () => {
  const events = await collect(bridge.captionStream(photo, "look", options));
  const types = events.map((event) => event.type);
  assert.deepEqual([types[0], types.at(-2), types.at(-1)], ["started", "result", "done"]);
  assert.deepEqual(events.at(-2).caption.result, answer);
  assert.match(events[0].request_id, /./);
});

test("partial objects grow", async () => {
  await reply({ Drip: { interval: 0.03, size: 64, of: { Answer: { pieces: 12 } } } });
  const events = await collect(bridge.captionStream(photo, "look", options));
  const looks = events.filter((event) => event.type === "partial").map((event) => event.result.look ?? "");
  assert.ok(looks.length > 1, `${looks.length} partial objects`);
  for (const [place, look] of looks.entries()) assert.ok(look.startsWith(looks[place - 1] ?? ""));
});

test("an analysis streams all perspectives", async () => {
  await control("default", { reply: { Answer: {} } });
  const events = await collect(bridge.analyzeStream(photo, ["look", "alt_text"], options));
  const ended = events.filter((event) => event.type === "result").map((event) => event.perspective);
  assert.deepEqual(ended.sort(), ["alt_text", "look"]);
});

test("a perspective that fails is an event; a request that is refused is an error", async () => {
  await reply({ Refusal: {} });
  const events = await collect(bridge.captionStream(photo, "look", options));
  assert.deepEqual(events.slice(-2).map((event) => event.problem?.code ?? event.type), ["refused", "done"]);
  assert.equal((await failure(bridge.captionStream(photo, "lok", options).next())).code, "unknown_perspective");
});

for (const [name, leave] of /** @type {const} */ ([
  ["leaving the loop", (/** @type {AbortController} */ _) => true],
  ["an abort", (/** @type {AbortController} */ controller) => void controller.abort(new Error("changed my mind"))],
])) {
  test(`${name} stops the provider's call`, async () => {
    await reply({ Hang: { after: "first" } });
    const controller = new AbortController();
    const read = async () => {
      for await (const event of bridge.captionStream(photo, "look", { ...options, signal: controller.signal })) {
        if (event.type !== "progress" || event.stage !== "model") continue;
        await control("wait", { calls: 1 });
        if (leave(controller)) return "left";
      }
    };
    assert.equal(await read().catch((error) => error.message), name === "an abort" ? "changed my mind" : "left");
    await control("wait", { hang_ups: 1 });
  });
}

test("an abort stops a plain call", async () => {
  await reply({ Hang: {} });
  const controller = new AbortController();
  const call = failure(bridge.caption(photo, "look", { ...options, signal: controller.signal }));
  await control("wait", { calls: 1 });
  controller.abort();
  assert.equal((await call).name, "AbortError");
  await control("wait", { hang_ups: 1 });
  assert.equal((await failure(bridge.health({ signal: AbortSignal.abort() }))).name, "AbortError");
});

test("after the bridge is killed, streams and calls fail as connection_lost", async () => {
  await control("default", { reply: { Hang: { after: "first" } } });
  const stream = bridge.captionStream(photo, "look", options);
  const read = failure(collect(stream));
  const call = failure(bridge.caption(photo, "look", options));
  await control("wait", { calls: 2 });
  await control("kill");
  const [lost, failed] = await Promise.all([read, call]);
  assert.deepEqual([lost.code, lost.retryable, lost.begun], ["connection_lost", true, true]);
  assert.deepEqual([failed.retryable, failed.begun], [true, true]);
  assert.ok(["connection_failed", "connection_lost"].includes(failed.code));
});

test("a bridge that shuts down finishes its streams and refuses new requests", { timeout: 60_000 }, async () => {
  await reply({ Drip: { interval: 0.1, size: 64, of: { Answer: {} } } });
  const read = collect(bridge.captionStream(photo, "look", options));
  await control("wait", { calls: 1 });
  const down = control("terminate");
  while ((await fetch(`${url}/readyz`)).ok) await new Promise((resolve) => setTimeout(resolve, 20));
  const refused = await failure(new Bridge({ baseUrl: url, retry: false }).caption(photo, "look", options));
  assert.ok(["shutting_down", "connection_failed"].includes(refused.code), refused.code);
  assert.equal((await read).at(-1).type, "done");
  await down;
});
