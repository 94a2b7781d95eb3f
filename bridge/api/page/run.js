/** One request and its events: the state of each perspective while it is captioned. */
import { BridgeError } from "./bridge.js";

const STAGES = {
  queued: "Waiting in the queue",
  image: "Preparing the photo",
  import: "Loading the provider",
  "loading model": "Loading the model",
  model: "The model is reading",
  retry: "Trying again",
  fallback: "Asking the fallback",
  validate: "Checking the answer",
  synthesis: "Combining the results",
};

/** Return the name of a perspective that a request names or contains. */
export const nameOf = (perspective) => (typeof perspective === "string" ? perspective : perspective.name || "inline");

/** A request that runs, or has ended. `items` maps perspectives to their states. */
export class Run {
  #abort = new AbortController();
  #notify;
  items = new Map();
  started = performance.now();
  ended = 0;

  /**
   * @param {{photo: File, perspectives: any[], options: any}} request
   * @param {(name: string) => void} notify called after a change of this perspective
   */
  constructor(request, notify) {
    this.request = request;
    this.#notify = notify;
    for (const each of request.perspectives) this.#add(nameOf(each), typeof each === "string" ? undefined : each);
    if (request.options.synthesize) this.#add(request.options.synthesize);
  }

  #add(name, own) {
    const outcome = { partial: null, caption: null, error: null, ended: 0 };
    this.items.set(name, { name, own, state: "running", stage: "Sending the photo", ...outcome });
  }

  cancel() {
    this.#abort.abort();
  }

  /** Send the request and follow its events until each perspective has ended. */
  async send(bridge) {
    try {
      for await (const event of this.#events(bridge)) this.#receive(event);
    } catch (error) {
      const cancelled = { code: "cancelled", title: "Cancelled", detail: "You cancelled it." };
      const reason = this.#abort.signal.aborted ? new BridgeError(cancelled) : error;
      for (const item of this.items.values()) if (item.state === "running") this.#end(item, { error: reason });
    }
    this.ended = performance.now();
  }

  #events(bridge) {
    const { photo, perspectives, options } = this.request;
    const all = { ...options, signal: this.#abort.signal };
    if (perspectives.length === 1) return bridge.captionStream(photo, perspectives[0], all);
    return bridge.analyzeStream(photo, perspectives, all);
  }

  #receive(event) {
    const item = this.items.get(event.perspective);
    if (!item) return;
    if (event.type === "progress")
      item.stage = [STAGES[event.stage] ?? event.stage, event.detail].filter(Boolean).join(": ");
    else if (event.type === "partial") Object.assign(item, { partial: event.result, stage: "The model is writing" });
    else if (event.type === "reset") Object.assign(item, { partial: null, stage: "Asking again" });
    else if (event.type === "result") return this.#end(item, { caption: event.caption });
    else if (event.type === "error") return this.#end(item, { error: event.problem });
    this.#notify(item.name);
  }

  #end(item, outcome) {
    Object.assign(item, outcome, { state: outcome.caption ? "done" : "failed", ended: performance.now() });
    this.#notify(item.name);
  }
}
