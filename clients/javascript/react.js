/**
 * React hooks of the client. Each takes a `Bridge`, or a `BridgeSocket` that many components share.
 *
 *     const { state, partial, caption, error, start, cancel } = useCaption(bridge, "graph_caption");
 */

import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { BridgeError } from "./bridge.js";

/** @import * as T from "./types.d.ts" */

/** @typedef {"idle" | "streaming" | "done" | "error"} RunState */

/**
 * One perspective of a run.
 *
 * @template [Result=T.JsonObject]
 * @typedef {object} Item
 * @property {RunState} state
 * @property {T.Stage | null} stage the stage that began last, while streaming
 * @property {T.DeepPartial<Result> | null} partial the object so far, at the end the result
 * @property {T.Caption<Result> | null} caption
 * @property {BridgeError | null} error
 * @property {T.Attempt[]} attempts calls to providers; known at the end
 */

/**
 * @typedef {object} Run
 * @property {RunState} state
 * @property {Record<string, Item<any>>} items by perspective
 * @property {BridgeError | null} error why the run failed
 * @property {T.Usage | null} usage
 * @property {Record<string, number>} timing milliseconds by stage
 */

/** @type {Item<any>} */
const IDLE = { state: "idle", stage: null, partial: null, caption: null, error: null, attempts: [] };

/** @param {RunState} state @param {readonly string[]} names @returns {Run} */
function newRun(state, names) {
  const items = Object.fromEntries(names.filter(Boolean).map((name) => [name, { ...IDLE, state }]));
  return { state, items, error: null, usage: null, timing: {} };
}

/**
 * Return the run after an event of its stream, or after its start, its end or its failure.
 *
 * @param {Run} run
 * @param {T.StreamEvent | {type: "run", run: Run} | {type: "failed", error: BridgeError} | {type: "cancelled"}} event
 * @returns {Run}
 */
function reduce(run, event) {
  switch (event.type) {
    case "run":
      return event.run;
    case "cancelled":
      if (run.state !== "streaming") return run;
      return { ...run, state: "idle", items: mapUnfinished(run.items, { state: "idle", stage: null }) };
    case "failed": {
      const { error } = event;
      return { ...run, state: "error", error, items: mapUnfinished(run.items, { state: "error", stage: null, error }) };
    }
    case "progress":
      return withItem(run, event.perspective, { stage: event.stage });
    case "partial":
      return withItem(run, event.perspective, { partial: event.result });
    case "reset":
      return withItem(run, event.perspective, { partial: null });
    case "result": {
      const { caption } = event;
      const end = { state: /** @type {const} */ ("done"), stage: null, partial: caption.result };
      return withItem(run, event.perspective, { ...end, caption, attempts: caption.attempts });
    }
    case "error": {
      const error = new BridgeError(event.problem);
      const end = { state: /** @type {const} */ ("error"), stage: null, error, attempts: error.attempts };
      return event.perspective === null ? run : withItem(run, event.perspective, end);
    }
    case "done": {
      const items = Object.values(run.items);
      const failed = items.length > 0 && items.every((item) => item.state === "error");
      const error = failed ? (items[0]?.error ?? null) : null;
      return { ...run, state: failed ? "error" : "done", error, usage: event.usage, timing: event.timing };
    }
    default:
      return run;
  }
}

/** @param {Run} run @param {string} name @param {Partial<Item<any>>} change @returns {Run} */
function withItem(run, name, change) {
  const item = run.items[name] ?? { ...IDLE, state: "streaming" };
  return { ...run, items: { ...run.items, [name]: { ...item, ...change } } };
}

/** @param {Record<string, Item<any>>} items @param {Partial<Item<any>>} change */
function mapUnfinished(items, change) {
  const changed = (/** @type {Item<any>} */ item) => (item.state === "streaming" ? { ...item, ...change } : item);
  return Object.fromEntries(Object.entries(items).map(([name, item]) => [name, changed(item)]));
}

/**
 * @typedef {(
 *   names: readonly string[],
 *   outer: AbortSignal | undefined,
 *   open: (signal: AbortSignal) => AsyncIterable<T.StreamEvent>,
 * ) => Promise<void>} StartRun
 */

/**
 * Hold one run at a time: a new one cancels the one before, whose events are ignored from then on; so does unmounting.
 *
 * @returns {[Run, StartRun, () => void]}
 */
function useRun() {
  const [run, dispatch] = useReducer(reduce, newRun("idle", []));
  const current = useRef(/** @type {AbortController | null} */ (null));

  const cancel = useCallback(() => {
    current.current?.abort();
    current.current = null;
    dispatch({ type: "cancelled" });
  }, []);

  const start = useCallback(
    /** @type {StartRun} */
    async (names, outer, open) => {
      current.current?.abort();
      const controller = new AbortController();
      current.current = controller;
      dispatch({ type: "run", run: newRun("streaming", names) });
      const signal = outer ? AbortSignal.any([controller.signal, outer]) : controller.signal;
      try {
        for await (const event of open(signal)) {
          if (current.current !== controller) return;
          dispatch(event);
        }
      } catch (error) {
        if (current.current !== controller) return;
        dispatch(signal.aborted ? { type: "cancelled" } : { type: "failed", error: asBridgeError(error) });
      }
    },
    [],
  );

  useEffect(() => () => current.current?.abort(), []);
  return [run, start, cancel];
}

/** @param {unknown} error */
function asBridgeError(error) {
  if (error instanceof BridgeError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new BridgeError({ code: "client_error", title: "Client error", detail }, { cause: error });
}

/** @param {T.PerspectiveInput} perspective */
function nameOf(perspective) {
  return typeof perspective === "string" ? perspective : String(perspective.name ?? "");
}

/**
 * Caption one image at a time and show the object while it is written.
 *
 * @template {object} Results
 * @template {T.PerspectiveInput<Results>} const Input
 * @param {Pick<T.Captioner<Results>, "captionStream">} bridge
 * @param {Input} perspective
 * @param {T.CaptionOptions} [options] of every run; `start` may add to them
 * @returns {Item<T.ResultOf<Results, T.NameOf<Input>>> & {
 *   start: (image: T.ImageInput, options?: T.CaptionOptions) => Promise<void>,
 *   cancel: () => void,
 * }}
 */
export function useCaption(bridge, perspective, options) {
  const [run, startRun, cancel] = useRun();
  const latest = useLatest({ bridge, perspective, options });
  const start = useCallback(
    /** @type {(image: T.ImageInput, more?: T.CaptionOptions) => Promise<void>} */
    (image, more) => {
      const { bridge, perspective, options } = latest.current;
      const all = { ...options, ...more };
      const open = (/** @type {AbortSignal} */ signal) => bridge.captionStream(image, perspective, { ...all, signal });
      return startRun([nameOf(perspective)], all.signal, /** @type {any} */ (open));
    },
    [startRun, latest],
  );
  const item = Object.values(run.items)[0] ?? { ...IDLE, state: run.state };
  return { ...item, error: item.error ?? run.error, start, cancel };
}

/**
 * Caption one image at a time by several perspectives and show all objects while they are written.
 *
 * @template {object} Results
 * @template {readonly T.PerspectiveInput<Results>[]} const Inputs
 * @param {Pick<T.Captioner<Results>, "analyzeStream">} bridge
 * @param {Inputs} perspectives
 * @param {T.AnalyzeOptions<Results>} [options] of every run; `start` may add to them
 * @returns {Omit<Run, "items"> & {
 *   items: {[Name in T.NameOf<Inputs[number]>]?: Item<T.ResultOf<Results, Name>>},
 *   attempts: T.Attempt[],
 *   start: (image: T.ImageInput, options?: T.AnalyzeOptions<Results>) => Promise<void>,
 *   cancel: () => void,
 * }} `items` also holds the synthesizer
 */
export function useAnalyze(bridge, perspectives, options) {
  const [run, startRun, cancel] = useRun();
  const latest = useLatest({ bridge, perspectives, options });
  const start = useCallback(
    /** @type {(image: T.ImageInput, more?: T.AnalyzeOptions<Results>) => Promise<void>} */
    (image, more) => {
      const { bridge, perspectives, options } = latest.current;
      const all = { ...options, ...more };
      const names = perspectives.map((each) => nameOf(/** @type {any} */ (each)));
      const open = (/** @type {AbortSignal} */ signal) => bridge.analyzeStream(image, perspectives, { ...all, signal });
      return startRun(names, all.signal, /** @type {any} */ (open));
    },
    [startRun, latest],
  );
  const attempts = Object.values(run.items).flatMap((item) => item.attempts);
  return { ...run, items: /** @type {any} */ (run.items), attempts, start, cancel };
}

/**
 * Load the perspectives of a bridge.
 *
 * @param {{perspectives: {list: (options?: T.CallOptions) => Promise<T.Perspective[]>}}} bridge
 * @returns {{
 *   state: "loading" | "done" | "error",
 *   perspectives: T.Perspective[],
 *   error: BridgeError | null,
 *   reload: () => void,
 * }}
 */
export function usePerspectives(bridge) {
  const [loads, setLoads] = useState(0);
  const [loaded, setLoaded] = useState({
    state: /** @type {"loading" | "done" | "error"} */ ("loading"),
    perspectives: /** @type {T.Perspective[]} */ ([]),
    error: /** @type {BridgeError | null} */ (null),
  });
  useEffect(() => {
    const controller = new AbortController();
    const { signal } = controller;
    setLoaded((before) => ({ ...before, state: "loading" }));
    bridge.perspectives.list({ signal }).then(
      (perspectives) => signal.aborted || setLoaded({ state: "done", perspectives, error: null }),
      (error) => signal.aborted || setLoaded({ state: "error", perspectives: [], error: asBridgeError(error) }),
    );
    return () => controller.abort();
  }, [bridge, loads]);
  const reload = useCallback(() => setLoads((before) => before + 1), []);
  return { ...loaded, reload };
}

/**
 * Return a reference to the value of the latest render.
 *
 * @template Value
 * @param {Value} value
 */
function useLatest(value) {
  const reference = useRef(value);
  useEffect(() => {
    reference.current = value;
  });
  return reference;
}
