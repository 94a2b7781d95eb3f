/** Compiled, never run: each wrong use must be an error, each right one must have the type it says. */
import { Bridge, BridgeError } from "@graphcap/bridge";
import type { AnyResults, Caption, JsonObject, StreamEvent } from "@graphcap/bridge";
import { useAnalyze, useCaption, usePerspectives } from "@graphcap/bridge/react";
import type { components } from "@graphcap/bridge/api";
import type { AltText, GraphCaption, Perspectives } from "./perspectives.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(equal: Equal<A, B>): void {
  void equal;
}

const bridge = new Bridge<Perspectives>({ baseUrl: "http://127.0.0.1:32100", retry: { limit: 1 } });
const untyped = new Bridge();
const image = new Blob();

// The caption's own type.
const alt = await bridge.caption(image, "alt_text");
same<typeof alt, Caption<AltText>>(true);
const graph = await bridge.caption(image, "graph_caption", { model: "m", signal: AbortSignal.timeout(1000) });
same<(typeof graph.result.tags_list)[0]["confidence"], number>(true);
// @ts-expect-error: no such field
graph.result.tags_lst;
// @ts-expect-error: no such perspective
await bridge.caption(image, "alt_txt");
// @ts-expect-error: no such option
await bridge.caption(image, "alt_text", { temprature: 1 });
// @ts-expect-error: not an image
await bridge.caption(7, "alt_text");
const inline = await bridge.caption(image, { name: "mine", prompt: "…", json_schema: {} });
same<typeof inline.result, JsonObject>(true);
const any = await untyped.caption(image, "whatever");
same<typeof any.result, JsonObject>(true);

// Analyses.
const analysis = await bridge.analyze(image, ["alt_text", "graph_caption"], { synthesize: "alt_text" });
same<typeof analysis.results.graph_caption, Caption<GraphCaption> | undefined>(true);
same<typeof analysis.synthesis, Caption<AltText> | null>(true);
const plain = await bridge.analyze(image, ["alt_text"]);
same<typeof plain.synthesis, null>(true);
// @ts-expect-error: it was not asked for
plain.results.graph_caption;
// @ts-expect-error: no such perspective
await bridge.analyze(image, ["alt_text", "graph"]);

// Streams: the type of the event and the name of the perspective narrow the rest.
for await (const event of bridge.analyzeStream(image, ["alt_text", "graph_caption"])) {
  if (event.type === "partial" && event.perspective === "graph_caption") {
    same<typeof event.result.short_caption, string | undefined>(true);
    same<NonNullable<typeof event.result.tags_list>[0]["confidence"], number | undefined>(true);
  }
  if (event.type === "result" && event.perspective === "alt_text") same<typeof event.caption, Caption<AltText>>(true);
  if (event.type === "error") same<typeof event.problem.code, string>(true);
  if (event.type === "progress") same<typeof event.perspective, "alt_text" | "graph_caption">(true);
  // @ts-expect-error: no such event
  if (event.type === "finished") break;
}
for await (const event of bridge.captionStream(image, "alt_text")) {
  if (event.type === "result") same<typeof event.caption.result, AltText>(true);
}
const general: AsyncIterable<StreamEvent<AnyResults>> = untyped.captionStream(image, "whatever");
void general;

// A socket has the same methods.
const socket = bridge.connect({ concurrency: 4, onStateChange: (state) => void state.length });
same<typeof socket.caption, typeof bridge.caption>(true);
same<typeof socket.analyzeStream, typeof bridge.analyzeStream>(true);

// Hooks.
function Component() {
  const one = useCaption(bridge, "graph_caption", { temperature: 0.2 });
  same<typeof one.caption, Caption<GraphCaption> | null>(true);
  same<typeof one.state, "idle" | "streaming" | "done" | "error">(true);
  one.partial?.tags_list?.[0]?.confidence?.toFixed();
  const several = useAnalyze(socket, ["alt_text", "graph_caption"]);
  same<NonNullable<typeof several.items.alt_text>["caption"], Caption<AltText> | null>(true);
  // @ts-expect-error: it was not asked for
  several.items.art_critic;
  // @ts-expect-error: no such perspective
  useCaption(bridge, "graph");
  void several.start(image, { model: "m" });
  return usePerspectives(bridge).perspectives[0]?.display_name;
}
void Component;

// Errors.
try {
  await bridge.health();
} catch (error) {
  if (error instanceof BridgeError) {
    same<typeof error.retryAfter, number | null>(true);
    same<(typeof error.problems)[0], { pointer: string; message: string }>(true);
  }
}

// The types of the API as they are.
same<components["schemas"]["Health"]["version"], string>(true);
