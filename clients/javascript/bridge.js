/**
 * Client of graphcap bridge for browsers, Node, Deno and Bun. One file without dependencies or build step.
 *
 *     const bridge = new Bridge({ baseUrl: "http://127.0.0.1:32100" });
 *     const caption = await bridge.caption(file, "alt_text");
 */

/** @import * as T from "./types.d.ts" */

const DEFAULT_URL = "http://127.0.0.1:32100";
const RETRY = { limit: 3, maxDelay: 30 };
const BACKOFF_SECONDS = 0.5;
const CONCURRENCY = 32;
/** Bytes that a WebSocket may hold unsent before further frames wait. */
const HIGH_WATER_MARK = 1024 * 1024;
const BUFFER_POLL_SECONDS = 0.05;
const WS_OPEN = 1;
const WS_ABNORMAL = 1006;
const WS_POLICY_VIOLATION = 1008;
const WS_MESSAGE_TOO_BIG = 1009;
const WS_RESTART = 1012;
const WS_TRY_LATER = 1013;
/** Before it closes with these codes, the bridge sends the reason as an error without an id. */
const WS_REFUSED = new Set([WS_POLICY_VIOLATION, WS_TRY_LATER]);
/** Causes of a failed fetch that mean that no connection existed: undici's and Bun's codes. */
const NOT_CONNECTED = new Set([
  ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "ENETUNREACH", "EHOSTUNREACH", "UND_ERR_CONNECT_TIMEOUT"],
  ...["ConnectionRefused", "FailedToOpenSocket"],
]);
/** Errors of Deno have no code. This is the text of hyper-util's ErrorKind::Connect (client/legacy/client.rs). */
const DENO_NOT_CONNECTED = "client error (Connect)";
const RETRYABLE_STATUS = new Set([408, 429, 502, 503, 504]);

/**
 * An error of the bridge or of the way to it. `code` is one of the API's codes, or `connection_failed` (no response),
 * `connection_lost` (the response ended early), `unexpected_response` (not from a bridge) or `socket_closed`.
 */
export class BridgeError extends Error {
  /**
   * @param {Partial<Omit<T.Problem, "errors">> & {code: string, errors?: unknown}} problem as the API sends it
   * @param {{cause?: unknown, begun?: boolean, requestId?: string | null, retryAfter?: number | null}} [more]
   *   what the response's headers add
   */
  constructor(problem, { cause, begun = true, requestId, retryAfter } = {}) {
    super(problem.detail ?? problem.title ?? problem.code, { cause });
    this.name = "BridgeError";
    /** Machine-readable, such as `unknown_perspective`. */
    this.code = problem.code;
    /** The kind of error in a few words. */
    this.title = problem.title ?? "";
    /** The HTTP status; 0 without a response. */
    this.status = problem.status ?? 0;
    /** Whether the same request may succeed later. */
    this.retryable = problem.retryable ?? false;
    /** Seconds to wait before that; null where unknown. */
    this.retryAfter = problem.retry_after ?? retryAfter ?? null;
    /** The request's id in the log of the bridge; null where unknown. */
    this.requestId = problem.instance || requestId || null;
    /** False when certainly nothing was begun: repeating the request costs nothing twice. */
    this.begun = begun;
    /** The provider that failed; null where none was called. */
    this.provider = problem.provider ?? null;
    /** Calls to providers before the failure. */
    this.attempts = problem.attempts ?? [];
    /** Each mistake in the request, perspective or answer. @type {T.Detail[]} */
    this.problems = Array.isArray(problem.errors) ? problem.errors : [];
    /** The error of each perspective, where all of an analysis failed. @type {Record<string, BridgeError>} */
    this.perspectives = {};
    if (isObject(problem.errors) && !Array.isArray(problem.errors)) {
      for (const [name, each] of Object.entries(problem.errors)) {
        this.perspectives[name] = new BridgeError(/** @type {T.Problem} */ (each));
      }
    }
  }
}

/**
 * A bridge. `Results` maps names of perspectives to the types of their results.
 *
 * @template {object} [Results=T.AnyResults]
 */
export class Bridge {
  #base;
  #key;
  #fetch;
  #WebSocket;
  #retry;

  /** @param {T.BridgeOptions} [options] */
  constructor({ baseUrl = DEFAULT_URL, apiKey = "", fetch, WebSocket, retry } = {}) {
    this.#base = apiUrl(baseUrl);
    this.#key = apiKey;
    /** @type {typeof globalThis.fetch} */
    this.#fetch = fetch ?? ((input, init) => globalThis.fetch(input, init));
    this.#WebSocket = WebSocket;
    this.#retry = retry === false ? { limit: 0, maxDelay: 0 } : { ...RETRY, ...retry };

    /** The perspectives of the bridge. */
    this.perspectives = {
      /** List every enabled perspective. @param {T.CallOptions} [options] @returns {Promise<T.Perspective[]>} */
      list: async (options) => (await this.#json("GET", "/perspectives/list", options)).perspectives,
      /**
       * List every enabled perspective without its prompt and schemas.
       * @param {T.CallOptions} [options] @returns {Promise<T.PerspectiveSummary[]>}
       */
      summaries: async (options) => (await this.#json("GET", "/perspectives/summaries", options)).perspectives,
      /**
       * Return one perspective.
       * @param {keyof Results & string} name @param {T.CallOptions} [options] @returns {Promise<T.Perspective>}
       */
      get: (name, options) => this.#json("GET", `/perspectives/${encodeURIComponent(name)}`, options),
      /**
       * Return TypeScript types of one perspective's result, or of all of them.
       * @param {string} [name] @param {T.CallOptions} [options] @returns {Promise<string>}
       */
      types: async (name, options) => {
        const path = name === undefined ? "" : `/${encodeURIComponent(name)}`;
        const response = await this.#request("GET", `/perspectives${path}/types.ts`, { accept: "*/*", ...options });
        return text(response, options?.signal);
      },
    };

    /** The providers that requests may name. */
    this.providers = {
      /** List the configured providers. @param {T.CallOptions} [options] @returns {Promise<T.Provider[]>} */
      list: async (options) => (await this.#json("GET", "/providers/list", options)).providers,
      /**
       * List the models that a provider serves now.
       * @param {string | T.ProviderConfig} provider the name of a configured provider, or a provider_config
       * @param {T.CallOptions} [options]
       * @returns {Promise<T.Model[]>}
       */
      models: async (provider, options) => {
        const [method, body] = typeof provider === "string" ? ["GET", undefined] : ["POST", provider];
        return (await this.#json(method, `${providerPath(provider)}/models`, options, body)).models;
      },
      /**
       * Connect to a provider: list its models, then ask one of them for a word. A failed test is a result too.
       * @param {string | T.ProviderConfig} provider the name of a configured provider, or a provider_config
       * @param {T.CallOptions & {model?: string}} [options]
       * @returns {Promise<T.ConnectionTest>}
       */
      test: (provider, { model, ...options } = {}) => {
        const body = { ...(typeof provider === "string" ? {} : provider), ...(model ? { model } : {}) };
        return this.#json("POST", `${providerPath(provider)}/test-connection`, options, body);
      },
    };
  }

  /** Return the state of the service. @param {T.CallOptions} [options] @returns {Promise<T.Health>} */
  health(options) {
    return this.#json("GET", "/health", options);
  }

  /**
   * Caption an image.
   *
   * @type {T.Captioner<Results>["caption"]}
   */
  async caption(image, perspective, options = {}) {
    const response = await this.#post("/perspectives/caption", image, { perspective }, options, "application/json");
    return json(response, options.signal);
  }

  /**
   * Caption an image by several perspectives. Rejects only when all of them failed.
   *
   * @type {T.Captioner<Results>["analyze"]}
   */
  async analyze(image, perspectives, options) {
    const fields = { perspectives };
    const response = await this.#post("/perspectives/analyze", image, fields, options ?? {}, "application/json");
    return json(response, options?.signal);
  }

  /**
   * Caption an image and yield the events. Leaving the loop stops the provider's call.
   *
   * @type {T.Captioner<Results>["captionStream"]}
   */
  captionStream(image, perspective, options = {}) {
    return this.#stream("/perspectives/caption", image, { perspective }, options);
  }

  /**
   * Caption an image by several perspectives and yield the events of all of them.
   *
   * @type {T.Captioner<Results>["analyzeStream"]}
   */
  analyzeStream(image, perspectives, options) {
    return this.#stream("/perspectives/analyze", image, { perspectives }, options ?? {});
  }

  /**
   * Open one WebSocket that carries many requests. Close it after use.
   *
   * @param {T.SocketOptions} [options]
   * @returns {BridgeSocket<Results>}
   */
  connect(options = {}) {
    const url = new URL(`${this.#base}/perspectives/stream`);
    url.protocol = url.protocol.replace("http", "ws");
    const Socket = this.#WebSocket ?? globalThis.WebSocket;
    if (!Socket) {
      throw new TypeError("This runtime has no WebSocket. Pass one as `WebSocket` to Bridge, or use Node 22 or newer.");
    }
    return new BridgeSocket({ url: url.href, key: this.#key, retry: this.#retry, Socket, ...options });
  }

  /**
   * @param {string} path
   * @param {T.ImageInput} image
   * @param {object} fields
   * @param {T.CaptionOptions} options
   * @returns {AsyncGenerator<any, void, undefined>}
   */
  async *#stream(path, image, fields, options) {
    const response = await this.#post(path, image, fields, options, "text/event-stream");
    if (!response.body || !contentType(response).startsWith("text/event-stream")) {
      throw unexpected(response, "is not an event stream");
    }
    try {
      for await (const { data } of parseServerSentEvents(response.body)) {
        const event = JSON.parse(data);
        yield event;
        if (event.type === "done") return;
      }
    } catch (cause) {
      throw options.signal?.aborted ? options.signal.reason : lost(cause);
    }
    throw lost();
  }

  /**
   * @param {string} path
   * @param {T.ImageInput} image
   * @param {object} fields
   * @param {T.CaptionOptions} options
   * @param {string} accept
   */
  async #post(path, image, fields, { signal, headers, ...more }, accept) {
    const source = await imageSource(image, this.#fetch, signal);
    const content = { ...more, ...fields };
    if (!(source instanceof Blob)) {
      return this.#request("POST", path, { signal, headers, accept, json: { ...content, image: source } });
    }
    const form = new FormData();
    form.append("request", JSON.stringify(content));
    form.append("image", source, "name" in source ? String(source.name) : "image");
    return this.#request("POST", path, { signal, headers, accept, form });
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {T.CallOptions} [options]
   * @param {unknown} [body]
   */
  async #json(method, path, options = {}, body) {
    return json(await this.#request(method, path, { ...options, json: body }), options.signal);
  }

  /**
   * Send a request until it is accepted, fails for good, or was retried often enough.
   *
   * @param {string} method
   * @param {string} path
   * @param {T.CallOptions & {accept?: string, json?: unknown, form?: FormData}} request
   * @returns {Promise<Response>}
   */
  #request(method, path, { signal, headers, accept = "application/json", json, form }) {
    /** @type {RequestInit} */
    const init = { method, headers: { Accept: accept }, body: form ?? null, ...(signal ? { signal } : {}) };
    const all = /** @type {Record<string, string>} */ (init.headers);
    if (this.#key) all.Authorization = `Bearer ${this.#key}`;
    if (json !== undefined) {
      all["Content-Type"] = "application/json";
      init.body = JSON.stringify(json);
    }
    Object.assign(all, headers);
    return retrying(this.#retry, signal, async () => {
      let response;
      try {
        response = await this.#fetch(`${this.#base}${path}`, init);
      } catch (cause) {
        signal?.throwIfAborted();
        throw notConnected(this.#base, cause, method !== "GET" && !neverConnected(cause));
      }
      if (!response.ok) throw await refusal(response);
      return response;
    });
  }
}

/**
 * @typedef {object} SocketSetup
 * @property {string} url
 * @property {string} key
 * @property {Required<T.RetryOptions>} retry
 * @property {typeof globalThis.WebSocket} Socket
 */

/**
 * @typedef {object} SocketRequest
 * @property {string} id
 * @property {() => Promise<string>} encode returns the frame
 * @property {number} size characters of the frame; 0 until it was sent
 * @property {boolean} answered
 * @property {EventQueue} events
 */

/**
 * One WebSocket that carries many requests. `Bridge.connect` creates it.
 *
 * It connects again when a request needs it. A request that the bridge had not begun is sent again; one that it had
 * ends in a `BridgeError` of code `connection_lost`.
 *
 * @template {object} [Results=T.AnyResults]
 */
export class BridgeSocket {
  #setup;
  #concurrency;
  #onStateChange;
  /** @type {WebSocket | null} */
  #socket = null;
  /** @type {T.SocketState} */
  #state = "closed";
  /** Set once `close` was called. */
  #ended = false;
  #lastId = 0;
  /** The last error without an id. @type {BridgeError | null} */
  #error = null;
  /** @type {SocketRequest[]} */
  #waiting = [];
  /** Requests that hold one of the places: being encoded, or sent and not done. @type {Map<string, SocketRequest>} */
  #running = new Map();
  #pumping = false;
  /** Whether the bridge shuts down: it accepts no further request, and closes the connection after the running ones. */
  #draining = false;

  /** @param {SocketSetup & T.SocketOptions} setup */
  constructor({ concurrency = CONCURRENCY, onStateChange = () => {}, ...setup }) {
    this.#setup = setup;
    this.#concurrency = concurrency;
    this.#onStateChange = onStateChange;
    this.#open();
  }

  /** Whether the connection is open now. */
  get state() {
    return this.#state;
  }

  /**
   * Caption an image.
   *
   * @type {T.Captioner<Results>["caption"]}
   */
  async caption(image, perspective, options = {}) {
    let caption;
    let problem;
    for await (const event of this.#stream("caption", image, { perspective }, options)) {
      if (event.type === "result") caption = event.caption;
      if (event.type === "error") problem = event.problem;
    }
    if (problem) throw new BridgeError(problem);
    return caption;
  }

  /**
   * Caption an image by several perspectives. Rejects only when all of them failed.
   *
   * @type {T.Captioner<Results>["analyze"]}
   */
  async analyze(image, perspectives, options) {
    const analysis = new AnalysisBuilder(perspectives, options?.synthesize);
    for await (const event of this.#stream("analyze", image, { perspectives }, options ?? {})) analysis.add(event);
    return analysis.result();
  }

  /**
   * Caption an image and yield the events. Leaving the loop stops the provider's call.
   *
   * @type {T.Captioner<Results>["captionStream"]}
   */
  captionStream(image, perspective, options = {}) {
    return this.#stream("caption", image, { perspective }, options);
  }

  /**
   * Caption an image by several perspectives and yield the events of all of them.
   *
   * @type {T.Captioner<Results>["analyzeStream"]}
   */
  analyzeStream(image, perspectives, options) {
    return this.#stream("analyze", image, { perspectives }, options ?? {});
  }

  /** Close the connection. Unfinished requests end in a `BridgeError` of code `socket_closed`. */
  close() {
    this.#ended = true;
    const requests = [...this.#waiting, ...this.#running.values()];
    this.#waiting = [];
    this.#running.clear();
    for (const request of requests) request.events.fail(closed());
    this.#socket?.close(1000);
  }

  /**
   * @param {string} type
   * @param {T.ImageInput} image
   * @param {object} fields
   * @param {T.CaptionOptions} options
   * @returns {AsyncGenerator<any, void, undefined>}
   */
  async *#stream(type, image, fields, { signal, headers: _, ...more }) {
    const source = await imageSource(image, globalThis.fetch, signal);
    const encode = async (/** @type {string} */ id) => {
      const reference = source instanceof Blob ? { base64: await base64(source) } : source;
      return JSON.stringify({ type, id, ...more, ...fields, image: reference });
    };
    /** @type {SocketRequest | undefined} */
    let request;
    const abort = () => request?.events.fail(signal?.reason);
    signal?.addEventListener("abort", abort);
    try {
      const first = await retrying(this.#setup.retry, signal, async () => {
        request = this.#submit(encode);
        return request.events.next();
      });
      for (let event = first; event; event = await /** @type {SocketRequest} */ (request).events.next()) yield event;
    } finally {
      signal?.removeEventListener("abort", abort);
      if (request) this.#abandon(request);
    }
  }

  /** @param {(id: string) => Promise<string>} encode @returns {SocketRequest} */
  #submit(encode) {
    if (this.#ended) throw closed();
    const id = `r${++this.#lastId}`;
    const request = { id, encode: () => encode(id), size: 0, answered: false, events: new EventQueue() };
    this.#waiting.push(request);
    void this.#pump();
    return request;
  }

  /** Cancel a request that is not done. The bridge frees its place with `done`. @param {SocketRequest} request */
  #abandon(request) {
    request.events.fail(closed());
    this.#waiting = this.#waiting.filter((each) => each !== request);
    if (this.#running.get(request.id) !== request) return;
    const cancel = JSON.stringify({ type: "cancel", id: request.id });
    if (!request.size) this.#release(request);
    else if (this.#socket?.readyState === WS_OPEN) this.#socket.send(cancel);
  }

  /** @param {SocketRequest} request */
  #release(request) {
    this.#running.delete(request.id);
    void this.#pump();
  }

  /** Send waiting requests one after another: as many as may run, while the socket takes them. */
  async #pump() {
    if (this.#pumping) return;
    this.#pumping = true;
    while (this.#waiting.length) {
      const socket = this.#socket ?? this.#open();
      if (socket.readyState !== WS_OPEN || this.#draining || this.#running.size >= this.#concurrency) break;
      if (socket.bufferedAmount > HIGH_WATER_MARK) {
        await sleep(BUFFER_POLL_SECONDS); // a WebSocket has no event for a buffer that was sent
        continue;
      }
      const request = /** @type {SocketRequest} */ (this.#waiting.shift());
      this.#running.set(request.id, request);
      request.size = 0;
      try {
        const frame = await request.encode();
        // Meanwhile it may have been cancelled, or the connection lost.
        if (this.#running.get(request.id) !== request || socket.readyState !== WS_OPEN) continue;
        request.size = frame.length;
        socket.send(frame);
      } catch (error) {
        request.events.fail(error);
        this.#running.delete(request.id);
      }
    }
    this.#pumping = false;
  }

  /** @returns {WebSocket} */
  #open() {
    const { Socket, url, key } = this.#setup;
    const socket = new Socket(url);
    let opened = false;
    let ended = false;
    const end = (/** @type {number} */ code) => {
      if (!ended) this.#closed(opened, code);
      ended = true;
    };
    this.#socket = socket;
    this.#error = null;
    this.#draining = false;
    this.#change("connecting");
    socket.addEventListener("open", () => {
      opened = true;
      if (key) socket.send(JSON.stringify({ type: "auth", api_key: key }));
      this.#change("open");
      void this.#pump();
    });
    socket.addEventListener("message", ({ data }) => this.#receive(JSON.parse(data)));
    socket.addEventListener("close", ({ code }) => end(code));
    // Node 20 fires no `close` event after a connection that failed.
    socket.addEventListener("error", () => opened || end(WS_ABNORMAL));
    return socket;
  }

  /** @param {boolean} opened @param {number} code */
  #closed(opened, code) {
    const running = [...this.#running.values()];
    // Before a restart, every request that was begun has been answered.
    const sent = running.filter((request) => (code === WS_RESTART ? request.answered : request.size));
    this.#waiting.unshift(...running.filter((request) => !sent.includes(request) && !request.events.ended));
    this.#socket = null;
    this.#running.clear();
    this.#change("closed");
    if (code === WS_MESSAGE_TOO_BIG) largest(sent)?.events.fail(tooLarge());
    const reason = WS_REFUSED.has(code) ? this.#error : null;
    for (const request of sent) request.events.fail(reason ?? lost());
    if (!opened || WS_REFUSED.has(code)) {
      const error = reason ?? notConnected(this.#setup.url, undefined, false);
      for (const request of this.#waiting.splice(0)) request.events.fail(error);
    }
    void this.#pump();
  }

  /** @param {any} event */
  #receive(event) {
    const refused = event.type === "error" && event.perspective === null;
    const error = refused ? new BridgeError(event.problem, { begun: false }) : null;
    if (event.id === null) this.#error = error;
    const request = event.id === null ? largest([...this.#running.values()]) : this.#running.get(event.id);
    if (!request) return;
    if (error?.code === "shutting_down" && !request.events.ended) {
      this.#draining = true;
      this.#running.delete(request.id);
      this.#waiting.unshift(request);
      return;
    }
    request.answered = true;
    if (error) request.events.fail(error);
    else request.events.push(event);
    if (error || event.type === "done") this.#release(request);
  }

  /** @param {T.SocketState} state */
  #change(state) {
    this.#state = state;
    this.#onStateChange(state);
  }
}

/**
 * Events of one request that were not read yet. A partial object replaces the one before it, so that a slow reader
 * costs no memory.
 */
class EventQueue {
  /** @type {any[]} */
  #events = [];
  #ended = false;
  /** @type {unknown} */
  #error;
  #failed = false;
  #wake = () => {};

  /** Whether the last event has arrived, or the request has failed or was abandoned. */
  get ended() {
    return this.#ended;
  }

  /** @param {any} event */
  push(event) {
    if (this.#ended) return;
    if (event.perspective) {
      const outdated = this.#events.findIndex(
        (each) => each.type === "partial" && each.perspective === event.perspective,
      );
      if (outdated >= 0 && event.type !== "progress") this.#events.splice(outdated, 1);
    }
    this.#events.push(event);
    this.#ended = event.type === "done";
    this.#wake();
  }

  /** End with an error; events that were not read are dropped. @param {unknown} error */
  fail(error) {
    if (this.#ended) return;
    this.#events = [];
    this.#error = error;
    this.#ended = this.#failed = true;
    this.#wake();
  }

  /** Return the next event, undefined after the last one. @returns {Promise<any>} */
  async next() {
    while (!this.#events.length && !this.#ended) {
      await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
    }
    if (this.#failed) throw this.#error;
    return this.#events.shift();
  }
}

/** Builds the result of an analysis from its events, as `POST /perspectives/analyze` returns it. */
class AnalysisBuilder {
  #order;
  #synthesizer;
  /** @type {Record<string, any>} */
  #captions = {};
  /** @type {Record<string, any>} */
  #errors = {};
  /** @type {any} */
  #rest = { usage: null, timing: {}, request_id: "" };

  /** @param {readonly unknown[]} perspectives @param {unknown} synthesize */
  constructor(perspectives, synthesize) {
    this.#order = perspectives.map(nameOf);
    this.#synthesizer = synthesize ? nameOf(synthesize) : undefined;
  }

  /** @param {any} event */
  add(event) {
    if (event.type === "started") this.#rest.request_id = event.request_id;
    if (event.type === "result") this.#captions[event.perspective] = event.caption;
    if (event.type === "error") this.#errors[event.perspective] = event.problem;
    if (event.type === "done") Object.assign(this.#rest, { usage: event.usage, timing: event.timing });
  }

  /** Return the analysis. Throws a BridgeError when every perspective failed. @returns {any} */
  result() {
    const captions = Object.values(this.#captions);
    if (!captions.length) throw this.#failure();
    const { [this.#synthesizer ?? ""]: synthesis = null, ...results } = this.#captions;
    const place = (/** @type {string} */ name) => (this.#order.indexOf(name) + 1 || Infinity);
    const names = Object.keys(results).sort((a, b) => place(a) - place(b));
    return {
      results: Object.fromEntries(names.map((name) => [name, results[name]])),
      errors: this.#errors,
      synthesis,
      image: captions[0].image,
      ...this.#rest,
    };
  }

  #failure() {
    const errors = Object.values(this.#errors);
    const { [this.#synthesizer ?? ""]: _, ...own } = this.#errors;
    const problem =
      new Set(Object.values(own).map((each) => each.status)).size === 1
        ? errors[0]
        : {
            ...{ code: "provider_error", title: "Every perspective failed", status: 502 },
            detail: `Every perspective failed. ${errors.map((each) => each.detail).join(" ")}`,
            retryable: errors.some((each) => each.retryable),
          };
    return new BridgeError({ ...problem, instance: this.#rest.request_id, errors: this.#errors });
  }
}

/**
 * Parse server-sent events as they arrive (WHATWG HTML, 9.2.6). An event that the stream cuts off is dropped.
 *
 * @param {ReadableStream<Uint8Array>} stream cancelled when the caller stops reading
 * @returns {AsyncGenerator<{event: string, data: string}, void, undefined>}
 */
export async function* parseServerSentEvents(stream) {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let line = "";
  let event = "";
  let afterCarriageReturn = false;
  /** @type {string[]} */
  let data = [];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      let text = decoder.decode(value, { stream: true });
      if (!text) continue;
      if (afterCarriageReturn && text[0] === "\n") text = text.slice(1);
      afterCarriageReturn = text ? text.endsWith("\r") : false;
      const lines = text.split(/\r\n|\r|\n/);
      lines[0] = line + lines[0];
      line = lines.pop() ?? "";
      for (const each of lines) {
        const colon = each.indexOf(":");
        const field = colon < 0 ? each : each.slice(0, colon);
        const content = colon < 0 ? "" : each.slice(each[colon + 1] === " " ? colon + 2 : colon + 1);
        if (!each) {
          if (data.length) yield { event: event || "message", data: data.join("\n") };
          event = "";
          data = [];
        } else if (field === "data") data.push(content);
        else if (field === "event") event = content;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/**
 * Run `call`, and again while it fails in a way that began nothing and may pass.
 *
 * @template Value
 * @param {Required<T.RetryOptions>} retry
 * @param {AbortSignal | undefined} signal
 * @param {() => Promise<Value>} call
 * @returns {Promise<Value>}
 */
async function retrying({ limit, maxDelay }, signal, call) {
  for (let attempt = 0; ; attempt += 1) {
    signal?.throwIfAborted();
    try {
      return await call();
    } catch (error) {
      if (!(error instanceof BridgeError) || error.begun || !error.retryable || attempt >= limit) throw error;
      const hint = error.retryAfter;
      if (hint !== null && hint > maxDelay) throw error;
      const seconds = hint ?? Math.min(BACKOFF_SECONDS * 2 ** attempt, maxDelay);
      await sleep(seconds * (1 + Math.random() / 4), signal);
    }
  }
}

/** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
function sleep(seconds, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, seconds * 1000);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * Return the bytes to upload, or the reference to send.
 *
 * @param {T.ImageInput} image
 * @param {typeof globalThis.fetch} fetch
 * @param {AbortSignal} [signal]
 * @returns {Promise<Blob | T.ImageReference>}
 */
async function imageSource(image, fetch, signal) {
  if (image instanceof Blob) return image;
  if (image instanceof ArrayBuffer || ArrayBuffer.isView(image)) return new Blob([/** @type {BlobPart} */ (image)]);
  if (typeof image !== "string" && !(image instanceof URL)) return image;
  const address = String(image);
  if (/^data:/i.test(address)) return { base64: address };
  if (/^https?:/i.test(address)) return { url: address };
  if (/^blob:/i.test(address)) return (await fetch(address, signal ? { signal } : {})).blob();
  if (image instanceof URL) {
    const remedy = "Pass the image as a Blob: in Node, await openAsBlob(path).";
    throw new TypeError(`The client does not read ${image.protocol} URLs. ${remedy}`);
  }
  return { path: address };
}

/** @param {Blob} blob */
async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let binary = "";
  for (let start = 0; start < bytes.length; start += 0x8000) {
    binary += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(binary);
}

/** @param {string | URL} baseUrl */
function apiUrl(baseUrl) {
  const url = new URL(baseUrl, globalThis.location?.href);
  if (!/^https?:$/.test(url.protocol)) throw new TypeError(`baseUrl must begin with http:// or https://: ${baseUrl}`);
  const path = url.pathname.replace(/\/+$/, "");
  return url.origin + (path.endsWith("/api/v1") ? path : `${path}/api/v1`);
}

/** @param {string | T.ProviderConfig} provider */
function providerPath(provider) {
  const name = typeof provider === "string" ? provider : provider.name || provider.kind;
  return `/providers/${encodeURIComponent(name)}`;
}

/** @param {unknown} perspective */
function nameOf(perspective) {
  return typeof perspective === "string" ? perspective : String(isObject(perspective) ? perspective.name : "");
}

/** @param {unknown} value @returns {value is Record<string, unknown>} */
function isObject(value) {
  return typeof value === "object" && value !== null;
}

/** @param {Response} response */
function contentType(response) {
  return (response.headers.get("content-type") ?? "").toLowerCase();
}

/** @param {Response} response @param {AbortSignal} [signal] @returns {Promise<any>} */
async function json(response, signal) {
  const body = await text(response, signal);
  try {
    return JSON.parse(body);
  } catch {
    throw unexpected(response, "is not JSON");
  }
}

/** @param {Response} response @param {AbortSignal} [signal] */
async function text(response, signal) {
  try {
    return await response.text();
  } catch (cause) {
    signal?.throwIfAborted();
    throw lost(cause);
  }
}

/** Return the error for a response that is not a success. @param {Response} response */
async function refusal(response) {
  const { headers, status } = response;
  const body = await text(response).catch(() => "");
  const more = {
    begun: headers.get("x-request-begun") !== "no",
    requestId: headers.get("x-request-id"),
    retryAfter: seconds(headers.get("retry-after")),
  };
  try {
    const problem = JSON.parse(body);
    if (typeof problem.code === "string") return new BridgeError(problem, more);
  } catch {
    // The response of a proxy, or of another service.
  }
  return unexpected(response, `has status ${status} and no problem document of a bridge`, more);
}

/** Seconds of a Retry-After header, which may hold a date. @param {string | null} header */
function seconds(header) {
  if (!header) return null;
  const value = /^\d+$/.test(header) ? Number(header) : (Date.parse(header) - Date.now()) / 1000;
  return Number.isFinite(value) ? Math.max(0, value) : null;
}

/** @param {Response} response @param {string} what @param {object} [more] */
function unexpected(response, what, more) {
  return new BridgeError(
    {
      ...{ code: "unexpected_response", title: "Unexpected response", status: response.status },
      detail: `The response of ${response.url} ${what}. Check baseUrl, and the proxies in between.`,
      retryable: RETRYABLE_STATUS.has(response.status),
    },
    { requestId: response.headers.get("x-request-id"), ...more },
  );
}

/** @param {string} url @param {unknown} cause @param {boolean} begun */
function notConnected(url, cause, begun) {
  const remedy = "Check that it runs, its address, and in browsers its GRAPHCAP_CORS_ORIGINS.";
  const detail = `The bridge at ${url} did not respond. ${remedy}`;
  const problem = { code: "connection_failed", title: "Connection failed", detail, retryable: true };
  return new BridgeError(problem, { cause, begun });
}

/** @param {unknown} [cause] */
function lost(cause) {
  const detail = "The connection ended before the response was complete. The request may have cost a call.";
  return new BridgeError({ code: "connection_lost", title: "Connection lost", detail, retryable: true }, { cause });
}

function closed() {
  return new BridgeError({ code: "socket_closed", title: "Socket closed", detail: "The socket was closed." });
}

function tooLarge() {
  const detail = "The frame is larger than the bridge accepts. Send a smaller image.";
  return new BridgeError({ code: "body_too_large", title: "Request body too large", status: 413, detail });
}

/** Return the largest request that was sent and not answered. @param {SocketRequest[]} requests */
function largest(requests) {
  return requests.filter(({ answered, size }) => size && !answered).sort((a, b) => b.size - a.size)[0];
}

/** Return whether a fetch failed before a connection existed. @param {unknown} error */
function neverConnected(error) {
  const { cause, code } = /** @type {{cause?: {code?: string, message?: string}, code?: string}} */ (error ?? {});
  return NOT_CONNECTED.has(cause?.code ?? code ?? "") || (cause?.message ?? "").includes(DENO_NOT_CONNECTED);
}
