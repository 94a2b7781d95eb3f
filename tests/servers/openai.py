"""A server with OpenAI's chat completions, in the variants of `tests/servers/variants.py`."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.servers import behaviours as b
from tests.servers.base import SENTENCE, WireServer
from tests.servers.call import Call, RefusedError
from tests.servers.instances import instance, schema_in
from tests.servers.reply import MARK, Reply, event_stream, json_reply, pieces
from tests.servers.variants import VARIANTS

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 64},
}
USAGES: dict[str, dict[str, Any] | None] = {"present": USAGE, "absent": None}
PLAIN = b.Answer()
NOT_OPTIONS = {"model", "messages", "response_format", "stream", "stream_options"}
SAMPLING = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
REASONING = re.compile(r"^(o\d|gpt-5)")
DATA_URL = re.compile(r"data:(image/[a-z+.-]+);base64,(.*)", re.DOTALL)


class OpenAIServer(WireServer):
    """Behave like the server `variant`; other arguments override the values of its row."""

    def __init__(self, variant: str = "openai", **overrides: Any) -> None:
        self.variant = row = VARIANTS[variant]
        self.base_path = row.base_path
        super().__init__(**{"key": row.key, "models": row.models, "modes": row.modes, **overrides})

    def read(self, call: Call) -> Reply | None:
        if call.path == "/health" and self.variant is VARIANTS["vllm"]:
            return json_reply({})
        endpoint = call.path.removeprefix(self.base_path) if call.path.startswith(self.base_path) else ""
        if endpoint not in ("/models", "/chat/completions"):
            raise RefusedError(404, f"Invalid URL ({call.method} {call.path})", path=True)
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            raise RefusedError(401, "Incorrect API key provided.", key=True)
        if endpoint == "/models":
            return self.listing()
        self.read_chat(call)
        return None

    def listing(self) -> Reply:
        if not self.variant.lists_models:
            raise RefusedError(404, "Not Found", path=True)
        return json_reply({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    def read_chat(self, call: Call) -> None:
        body = call.read_json()
        self.check_fields(body)
        call.model = body.get("model", "")
        call.stream = bool(body.get("stream"))
        call.options = {name: value for name, value in body.items() if name not in NOT_OPTIONS}
        self.read_messages(call, body.get("messages") or [])
        self.read_format(call, body)
        if call.model not in self.models and self.variant.unknown_model is not None:
            raise RefusedError(self.variant.unknown_model, f"The model `{call.model}` does not exist.", model=True)
        self.check_reasoning(call)

    def check_fields(self, body: dict[str, Any]) -> None:
        if self.variant.unknown is None:
            return
        for name in body.keys() - self.variant.fields:
            raise RefusedError(self.variant.unknown, f"Unrecognized request argument supplied: {name}", param=name)

    def check_reasoning(self, call: Call) -> None:
        """Reject `max_tokens` and sampling parameters for OpenAI's reasoning models."""
        if self.variant is not VARIANTS["openai"] or not REASONING.match(call.model):
            return
        for name in ("max_tokens", *SAMPLING):
            if name in call.options:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                raise RefusedError(400, message, unsupported=True, param=name)

    def read_messages(self, call: Call, messages: list[dict[str, Any]]) -> None:
        if not messages:
            raise RefusedError(400, "messages: expected at least one.")
        if messages[0]["role"] in ("system", "developer"):
            call.system = messages[0]["content"]
            messages = messages[1:]
        content = messages[0]["content"]
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            self.read_part(call, part)
        for message in messages[1:]:
            if not isinstance(message["content"], str):
                raise RefusedError(400, "An image follows the first message.")
            call.turns.append((message["role"], message["content"]))

    def read_part(self, call: Call, part: dict[str, Any]) -> None:
        if part["type"] == "text":
            call.prompt += part["text"]
            call.parts.append("text")
            return
        match = DATA_URL.fullmatch(part["image_url"]["url"])
        if match is None:
            raise RefusedError(400, "The URL is not a data URI of an image.", image=True)
        call.add_image(match[2], match[1], self.variant.images_refused)
        call.parts.append("image")

    def read_format(self, call: Call, body: dict[str, Any]) -> None:
        response_format = body.get("response_format") or {"type": "text"}
        call.mode = response_format["type"]
        if call.mode not in self.modes:
            raise RefusedError(400, "'response_format.type' must be one that this server knows.", schema=True)
        if call.mode == "json_object" and self.variant.only_strict and "json" not in " ".join(call.texts).lower():
            raise RefusedError(400, "'messages' must contain the word 'json' in some form.", param="messages")
        if call.mode == "json_object" and self.variant is VARIANTS["llamacpp"]:
            call.schema = response_format.get("schema")
        if call.mode == "json_schema":
            self.read_schema(call, response_format.get("json_schema") or {})

    def read_schema(self, call: Call, wrapper: dict[str, Any]) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", wrapper.get("name", "")):
            raise RefusedError(400, "Invalid 'response_format.json_schema.name'.", schema=True, param="response_format")
        call.schema = wrapper.get("schema")
        if not isinstance(call.schema, dict):
            raise RefusedError(400, "Missing 'response_format.json_schema.schema'.", schema=True)
        if self.variant.only_strict and not wrapper.get("strict"):
            return
        if fault := self.variant.schema_fault(call.schema):
            message = f"Invalid schema for response_format '{wrapper['name']}': {fault}"
            raise RefusedError(400, message, schema=True, param="response_format")

    def default_text(self, call: Call) -> str:
        """Return the answer of this server: some accept a schema and do not enforce it."""
        applies = self.variant.constrains and call.schema is not None
        if self.variant is VARIANTS["openrouter"]:  # a routing preference only: CultivateLabs/raif#462
            applies = applies and bool((call.body.get("provider") or {}).get("require_parameters"))
        schema = call.schema if applies else schema_in(call.texts)
        if schema is not None:
            return json.dumps(instance(schema))
        return json.dumps({"caption": SENTENCE}) if call.mode == "json_object" else SENTENCE

    def error(self, refused: RefusedError, call: Call | None = None) -> Reply:
        status, message, facts = refused.status, refused.message, refused.facts
        if facts.get("too_long"):
            message = self.variant.too_long
        if facts.get("no_credit"):
            status = 429 if self.variant.error is VARIANTS["openai"].error else 402
            message = "You exceeded your current quota, please check your plan and billing details."
        return json_reply(self.variant.error(status, message, refused), status, refused.headers)

    def answer(self, call: Call, text: str, answer: b.Answer) -> Reply:
        message: dict[str, Any] = {"content": text}
        if answer.thinking:
            message["reasoning_content"] = answer.thinking
        if not call.stream:
            return self.whole(call, message, "stop", answer)
        thoughts = [{"reasoning_content": piece} for piece in pieces(answer.thinking, 2) if piece]
        deltas = [*thoughts, *({"content": piece} for piece in pieces(text, answer.pieces))]
        return self.streamed(call, deltas, "stop", answer)

    def special(self, call: Call, behaviour: b.Behaviour) -> Reply:
        match behaviour:
            case b.Refusal(text=text):
                return self.reply_with(call, {"refusal": text}, "stop")
            case b.SafetyBlock(where="answer"):
                return self.reply_with(call, {"content": "A pic"}, "content_filter")
            case b.SafetyBlock():
                return self.error(RefusedError(400, "Rejected as a result of our safety system.", safety=True), call)
            case b.Length(text=text):
                return self.reply_with(call, {"content": text}, "length")
            case b.ToolCall():
                function = {"name": "look", "arguments": "{}"}
                tool = {"index": 0, "id": "call_1", "type": "function", "function": function}
                return self.reply_with(call, {"tool_calls": [tool]}, "tool_calls")
            case b.EmptyChoices():
                body = self.envelope(call, [], USAGE)
                return event_stream([body], done=self.variant.done) if call.stream else json_reply(body)
            case b.ErrorInStream():
                return self.failing(call, behaviour)
            case b.Unfinished(text=text):
                return event_stream(list(self.chunks(call, [{"content": text}], None)), done=False)
        raise NotImplementedError(behaviour)

    def failing(self, call: Call, behaviour: b.ErrorInStream) -> Reply:
        error = self.variant.error(behaviour.code, behaviour.message, RefusedError(behaviour.code, behaviour.message))
        if not call.stream:
            return json_reply(error)
        return event_stream([*self.chunks(call, [{"content": behaviour.text}], None), error], done=False)

    def reply_with(self, call: Call, message: dict[str, Any], finish: str) -> Reply:
        return self.streamed(call, [message], finish) if call.stream else self.whole(call, message, finish)

    def whole(self, call: Call, message: dict[str, Any], finish: str, answer: b.Answer = PLAIN) -> Reply:
        message = {"role": "assistant", "content": None, "refusal": None, **message}
        choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
        return json_reply(self.envelope(call, [choice], USAGES[answer.usage], answer.model))

    def streamed(self, call: Call, deltas: list[dict[str, Any]], finish: str, answer: b.Answer = PLAIN) -> Reply:
        events = list(self.chunks(call, deltas, finish, answer.model))
        options = call.body.get("stream_options") or {}
        if options.get("continuous_usage_stats") and answer.usage != "absent":  # vLLM
            events = [{**event, "usage": USAGES[answer.usage]} for event in events]
        if options.get("include_usage") and answer.usage != "absent":
            events.append(self.envelope(call, [], USAGES[answer.usage], answer.model))
        return event_stream(events, done=self.variant.done, comment=self.variant.comment)

    def chunks(
        self, call: Call, deltas: list[dict[str, Any]], finish: str | None, model: str = ""
    ) -> Iterator[dict[str, Any]]:
        combined = self.variant.ends_with_text and MARK not in str(deltas)
        for delta in [{"role": "assistant", "content": ""}, *deltas]:
            last = finish if delta is deltas[-1] and combined else None
            yield self.envelope(call, [{"index": 0, "delta": delta, "finish_reason": last}], model=model)
        if finish and not combined:
            yield self.envelope(call, [{"index": 0, "delta": {}, "finish_reason": finish}], model=model)

    def envelope(
        self, call: Call, choices: list[Any], usage: dict[str, Any] | None = None, model: str = ""
    ) -> dict[str, Any]:
        kind = "chat.completion.chunk" if call.stream else "chat.completion"
        counts = {} if usage is None else {"usage": usage}
        name = model or call.model
        return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": name, "choices": choices, **counts}
