/**
 * Types of the client: those of the API (generated in `api.d.ts`) with the caption's own type filled in.
 *
 * `Results` maps names of perspectives to the types of their results, as `npx @graphcap/bridge types` writes them.
 */
import type { components } from "./api.d.ts";

type Schemas = components["schemas"];

export type JsonObject = Record<string, unknown>;
export type AnyResults = Record<string, JsonObject>;

/** An error as the API reports it. */
export type Problem = Schemas["Problem"];
/** One thing that is wrong, and its JSON Pointer. */
export type Detail = Schemas["Detail"];
export type Attempt = Schemas["Attempt"];
export type Usage = Schemas["UsageOut"];
export type PreparedImage = Schemas["ImageOut"];
export type Perspective = Schemas["PerspectiveOut"];
export type PerspectiveSummary = Schemas["PerspectiveSummary"];
export type Provider = Schemas["ProviderOut"];
export type ProviderConfig = Schemas["ProviderBody"];
export type Model = Schemas["ModelOut"];
export type ConnectionTest = Schemas["ConnectionTest"];
export type Health = Schemas["Health"];
export type Stage = Schemas["Progress"]["stage"];

/**
 * An image: a file or bytes are uploaded; a string or URL is an http(s) address, a data URI, a blob address of this
 * page; any other string is a path in the bridge's workspace.
 */
export type ImageInput = Blob | ArrayBuffer | ArrayBufferView | URL | string | ImageReference;
export type ImageReference = { path: string } | { url: string } | { base64: string };

/** A perspective: its name, or the perspective itself. */
export type PerspectiveInput<Results extends object = AnyResults> = (keyof Results & string) | InlinePerspective;
export interface InlinePerspective {
  name?: string;
  prompt?: string;
  [key: string]: unknown;
}
export type NameOf<Input> = Input extends string ? Input : string;
export type ResultOf<Results, Name> = Name extends keyof Results ? Results[Name] : JsonObject;

/** Every property optional, at every depth: an object that is being written. */
export type DeepPartial<T> = T extends readonly (infer Item)[]
  ? DeepPartial<Item>[]
  : T extends object
    ? { [Key in keyof T]?: DeepPartial<T[Key]> }
    : T;

export interface CallOptions {
  /** Cancels the call: its promise or iterator then rejects with `signal.reason`. */
  signal?: AbortSignal | undefined;
  /** Further request headers, such as `X-Provider-Key` or `X-Request-ID`. A WebSocket sends none. */
  headers?: Record<string, string> | undefined;
}
/** The fields of a caption request beside image and perspective, and those of the call. */
export type CaptionOptions = Omit<Schemas["CaptionRequest"], "image" | "perspective"> & CallOptions;
export type AnalyzeOptions<Results extends object = AnyResults> = CaptionOptions & {
  /** A perspective that runs last, with the captions of the others as context. */
  synthesize?: PerspectiveInput<Results> | undefined;
};
export type SynthesizerOf<Options> = Options extends { synthesize?: unknown }
  ? "synthesize" extends keyof Options
    ? NameOf<NonNullable<Options["synthesize"]>>
    : never
  : never;

/** A caption that fits the schema of its perspective. */
export interface Caption<Result = JsonObject> extends Omit<Schemas["Caption"], "result"> {
  result: Result;
}

/** Captions of one image; a perspective is in `results` or in `errors`. */
export interface Analysis<
  Results extends object = AnyResults,
  Name extends string = string,
  Synthesizer extends string = string,
> extends Omit<Schemas["AnalyzeOut"], "results" | "synthesis"> {
  results: { [Each in Name]?: Caption<ResultOf<Results, Each>> };
  synthesis: [Synthesizer] extends [never] ? null : Caption<ResultOf<Results, Synthesizer>> | null;
}

export type StartedEvent = Schemas["Started"];
export type DoneEvent = Schemas["Done"];
export type ErrorEvent<Name extends string = string> = Omit<Schemas["ErrorEvent"], "perspective"> & {
  perspective: Name | null;
};
export type ProgressEvent<Name extends string = string> = Omit<Schemas["Progress"], "perspective"> & {
  perspective: Name;
};
export type ResetEvent<Name extends string = string> = Omit<Schemas["Reset"], "perspective"> & { perspective: Name };
export type PartialEvent<Name extends string = string, Result = JsonObject> = Omit<
  Schemas["PartialEvent"],
  "perspective" | "result"
> & { perspective: Name; result: DeepPartial<Result> };
export type ResultEvent<Name extends string = string, Result = JsonObject> = Omit<
  Schemas["Result"],
  "perspective" | "caption"
> & { perspective: Name; caption: Caption<Result> };

/** What a stream yields. Each perspective ends in one `result` or `error`; `done` is the last event. */
export type StreamEvent<Results extends object = AnyResults, Name extends string = string> =
  | StartedEvent
  | ProgressEvent<Name>
  | ResetEvent<Name>
  | ErrorEvent<Name>
  | DoneEvent
  | { [Each in Name]: PartialEvent<Each, ResultOf<Results, Each>> | ResultEvent<Each, ResultOf<Results, Each>> }[Name];

export type EventStream<Results extends object, Name extends string> = AsyncGenerator<
  StreamEvent<Results, Name>,
  void,
  undefined
>;

/** What `Bridge` and `BridgeSocket` have in common. Each call rejects with a `BridgeError`, or `signal.reason`. */
export interface Captioner<Results extends object = AnyResults> {
  /** Caption an image. */
  caption<const Input extends PerspectiveInput<Results>>(
    image: ImageInput,
    perspective: Input,
    options?: CaptionOptions,
  ): Promise<Caption<ResultOf<Results, NameOf<Input>>>>;

  /** Caption an image by several perspectives. Rejects only when all of them failed. */
  analyze<
    const Inputs extends readonly PerspectiveInput<Results>[],
    const Options extends AnalyzeOptions<Results> = {},
  >(
    image: ImageInput,
    perspectives: Inputs,
    options?: Options,
  ): Promise<Analysis<Results, NameOf<Inputs[number]>, SynthesizerOf<Options>>>;

  /** Caption an image and yield the events. Leaving the loop stops the provider's call. */
  captionStream<const Input extends PerspectiveInput<Results>>(
    image: ImageInput,
    perspective: Input,
    options?: CaptionOptions,
  ): EventStream<Results, NameOf<Input>>;

  /** Caption an image by several perspectives and yield the events of all of them. */
  analyzeStream<
    const Inputs extends readonly PerspectiveInput<Results>[],
    const Options extends AnalyzeOptions<Results> = {},
  >(
    image: ImageInput,
    perspectives: Inputs,
    options?: Options,
  ): EventStream<Results, NameOf<Inputs[number]> | SynthesizerOf<Options>>;
}

export interface RetryOptions {
  /** How often a call is retried that failed before the bridge began it; default 3. */
  limit?: number;
  /** The longest wait in seconds; an error whose `retryAfter` is longer is thrown without a retry. Default 30. */
  maxDelay?: number;
}

export interface BridgeOptions {
  /** Address of the bridge, path prefix included; `/api/v1` is added. Relative to the page in browsers. */
  baseUrl?: string | URL;
  /** One of the keys of `GRAPHCAP_API_KEYS`. */
  apiKey?: string;
  fetch?: typeof globalThis.fetch;
  /** A WebSocket class; needed only in Node before 22, which has none. */
  WebSocket?: typeof globalThis.WebSocket;
  /** `false` turns retries off. */
  retry?: RetryOptions | false;
}

export type SocketState = "connecting" | "open" | "closed";
export interface SocketOptions {
  /** Requests that are sent at a time; further ones wait here. Default 32, as `GRAPHCAP_MAX_SOCKET_REQUESTS`. */
  concurrency?: number;
  /** Called when the connection opens, closes or is opened again. */
  onStateChange?: (state: SocketState) => void;
}
