/** Errors in words: what happened, what to do about it, and where. */
import { el } from "./dom.js";

/** What this page offers beyond the remedy that the bridge's own sentence names. */
const ADVICE = {
  answer_truncated: "“Max tokens” is among the advanced options.",
  blocked: "Choose another model, or add a fallback among the advanced options.",
  connection_failed: "Start `graphcap serve` where it runs.",
  context_too_long: "Shorten the context among the advanced options.",
  internal_error: "This is a mistake in the bridge. Its log has the request id.",
  invalid_perspective: "Correct these places in the perspective.",
  missing_variables: "Fill in the variables below the perspective.",
  provider_unreachable: "“Test connection” tells more.",
  refused: "Choose another model, or add a fallback for refusals among the advanced options.",
  unauthorized: "Enter one of the bridge's keys.",
};

/** Return the mistakes that an error lists: of a BridgeError, or of a problem of the API. */
export const mistakes = ({ problems, errors }) => problems ?? (Array.isArray(errors) ? errors : []);

/**
 * Create the message for an error: a BridgeError, or a problem of the API.
 *
 * @param {any} error
 * @param {{label: string, act: () => void}[]} actions buttons below the message
 */
export function failure(error, actions = []) {
  const wait = error.retryAfter ?? error.retry_after;
  const advice = [ADVICE[error.code], wait && `Wait ${Math.ceil(wait)} s.`].filter(Boolean).join(" ");
  const id = error.requestId ?? error.instance;
  const text = error.detail ?? error.message ?? String(error);
  const more = mistakes(error).filter(({ message }) => message !== text);
  return el(
    "div.failure",
    { data: { code: error.code ?? "page_error" } },
    el("h3", {}, error.title || "That did not work"),
    el("p", {}, text),
    advice && el("p.advice", {}, advice),
    more.length && pointers(more),
    actions.map(({ label, act }) => el("button.soft", { onclick: act }, label)),
    el("p.muted.small", {}, [error.code, id && `request ${id}`].filter(Boolean).join(" · ")),
  );
}

/** List mistakes with their JSON Pointers; those in a perspective are relative to it. */
export function pointers(problems) {
  const place = (pointer) => pointer.replace(/^\/perspective(s\/\d+)?(?=\/|$)/, "") || "/";
  const row = ({ pointer, message }) => el("li", {}, el("code", {}, place(pointer)), ` ${message}`);
  return el("ul.mistakes", {}, problems.map(row));
}
