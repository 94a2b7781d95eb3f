"""A server with Anthropic's Messages API (version 2026-10-21)."""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tests.servers import behaviours as b
from tests.servers.base import WireServer
from tests.servers.call import Call, RefusedError, words
from tests.servers.reply import Reply, json_bytes, json_reply, pieces
from tests.servers.schemas import anthropic_fault

KEY = "sk-ant-test-right-key"
VERSION = "2026-10-21"
MAX_SIDE = 8000
USAGE = {"input_tokens": 56, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 64, "output_tokens": 30}
USAGES: dict[str, dict[str, int] | None] = {"present": USAGE, "absent": None}
# This version has no temperature, top_p and top_k: codersera.com and the SDK's own types
FIELDS = words(
    """cache_control container diagnostics inference_geo max_tokens messages metadata model output_config service_tier
    speed stop_sequences stream system thinking tool_choice tools"""
)
NOT_OPTIONS = words("messages model output_config stream system tool_choice tools")
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
FILTERED = "Output blocked by content filtering policy"
PLAIN = b.Answer()
Blocks = list[dict[str, Any]]


class AnthropicServer(WireServer):
    """Require a bearer token and `anthropic-version`."""

    base_path = "/v1"

    def __init__(self, *, key: str = KEY, models: tuple[str, ...] = ("claude-haiku-5-5",), **rest: Any) -> None:
        super().__init__(key=key, models=models, **rest)

    def read(self, call: Call) -> Reply | None:
        if call.path not in ("/v1/models", "/v1/messages"):
            raise RefusedError(404, "Not Found")
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            raise RefusedError(401, "invalid x-api-key")
        if call.headers.get("anthropic-version") != VERSION:
            raise RefusedError(400, "anthropic-version: header is required")
        if call.path == "/v1/models":
            return self.listing()
        self.read_message(call)
        return None

    def listing(self) -> Reply:
        rows = [{"type": "model", "id": name, "display_name": name.title()} for name in self.models]
        return json_reply({"data": rows, "has_more": False, "first_id": self.models[0], "last_id": self.models[-1]})

    def read_message(self, call: Call) -> None:
        body = call.read_json()
        for name in body.keys() - FIELDS:
            raise RefusedError(400, f"{name}: Extra inputs are not permitted")
        for name in ("model", "max_tokens", "messages"):
            if name not in body:
                raise RefusedError(400, f"{name}: Field required")
        if type(body["max_tokens"]) is not int or body["max_tokens"] < 1:
            raise RefusedError(400, "max_tokens: Input should be a valid integer")
        call.model, call.stream = body["model"], bool(body.get("stream"))
        if call.model not in self.models:
            raise RefusedError(404, f"model: {call.model}")
        call.options = {name: value for name, value in body.items() if name not in NOT_OPTIONS}
        call.system = self.text(body.get("system", "-"), "system").removeprefix("-")
        self.read_messages(call, body["messages"])
        self.read_format(call, body)

    def text(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or not value.strip():
            raise RefusedError(400, f"{where}: text content blocks must contain non-whitespace text")
        return value

    def read_messages(self, call: Call, messages: list[dict[str, Any]]) -> None:
        roles = [message["role"] for message in messages]
        if not roles or roles[0] != "user" or roles[-1] != "user" or set(roles) - {"user", "assistant"}:
            raise RefusedError(400, "messages: This model does not support assistant message prefill.")
        first = messages[0]["content"]
        for index, block in enumerate([{"type": "text", "text": first}] if isinstance(first, str) else first):
            self.read_block(call, block, f"messages.0.content.{index}")
        for index, message in enumerate(messages[1:], 1):
            call.turns.append((message["role"], self.text(message["content"], f"messages.{index}")))

    def read_block(self, call: Call, block: dict[str, Any], where: str) -> None:
        call.parts.append(block["type"])
        if block["type"] == "text":
            call.prompt += self.text(block["text"], where)
            return
        if block.get("cache_control", {"type": "ephemeral"}) != {"type": "ephemeral"}:
            raise RefusedError(400, f"{where}.cache_control: Input should be a valid dictionary")
        source = block["source"]
        if block["type"] != "image" or source["type"] != "base64" or re.search("[-_]", source["data"]):
            raise RefusedError(400, f"{where}.image.source.base64: invalid base64 data")
        if len(source["data"]) > 10 * 1024 * 1024:
            raise RefusedError(400, f"{where}.image.source.base64: image exceeds 10 MB maximum")
        call.add_image(source["data"], source["media_type"], refused=frozenset({"TIFF", "AVIF", "BMP"}))
        if max(call.images[-1].size) > MAX_SIDE:
            message = f"At least one of the image dimensions exceed max allowed size: {MAX_SIDE} pixels"
            raise RefusedError(400, f"{where}.image.source.base64.data: {message}")

    def read_format(self, call: Call, body: dict[str, Any]) -> None:
        output = body.get("output_config", {})
        for name in output.keys() - {"format", "effort"}:
            raise RefusedError(400, f"output_config.{name}: Extra inputs are not permitted")
        tools, choice = body.get("tools", []), body.get("tool_choice", {"type": "auto"})
        forced = choice["type"] in ("tool", "any")
        call.mode = "json_schema" if "format" in output else "json_object" if forced else "text"
        self.check_mode(call)
        if "format" in output:
            call.schema = output["format"]["schema"]
            if output["format"]["type"] != "json_schema" or (fault := anthropic_fault(call.schema)):
                raise RefusedError(400, f"output_config.format.schema: {fault}")
        if forced and body.get("thinking", {}).get("type") == "adaptive":  # can1357/oh-my-pi#341
            raise RefusedError(400, "Thinking may not be enabled when tool_choice forces tool use.")
        if forced:
            self.read_tool(call, tools, choice)

    def read_tool(self, call: Call, tools: list[dict[str, Any]], choice: dict[str, Any]) -> None:
        tool = next((tool for tool in tools if tool["name"] == choice.get("name")), None)
        if tool is None or not re.fullmatch("[a-zA-Z0-9_-]{1,128}", tool["name"]):
            raise RefusedError(400, f"Tool '{choice.get('name')}' not found in provided tools")
        call.schema = tool["input_schema"]
        if call.schema.get("type") != "object" or {"oneOf", "allOf", "anyOf"} & call.schema.keys():
            message = "input_schema does not support oneOf, allOf, or anyOf at the top level"
            raise RefusedError(400, f"tools.0.custom.input_schema: {message}")

    def error(self, refused: RefusedError, call: Call | None = None) -> Reply:
        status, message, facts = refused.status, refused.message, refused.facts
        if facts.get("schema"):
            message = "output_config: Extra inputs are not permitted"
        if facts.get("too_long"):
            message = "prompt is too long: 1200000 tokens > 200000 maximum"
        if facts.get("no_credit"):
            status, message = 400, "Your credit balance is too low to access the Anthropic API."
        if facts.get("image"):
            message = "Could not process image"
        return json_reply(self.fault(status, message), status, refused.headers)

    def fault(self, status: int, message: str) -> dict[str, Any]:
        error = {"type": TYPES.get(status, "api_error" if status >= 500 else TYPES[400]), "message": message}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def answer(self, call: Call, text: str, answer: b.Answer) -> Reply:
        thinking = {"type": "thinking", "thinking": answer.thinking, "signature": "s"}
        blocks: Blocks = [thinking] if answer.thinking else []
        if call.mode != "json_object":
            return self.message(call, [*blocks, {"type": "text", "text": text}], "end_turn", answer)
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if isinstance(value, dict) or (call.stream and text.startswith("{")):
            used = {"type": "tool_use", "id": "toolu_1", "name": "caption", "input": value, "json": text}
            return self.message(call, [*blocks, used], "tool_use", answer)
        return self.message(call, [*blocks, {"type": "text", "text": text}], "end_turn", answer)

    def special(self, call: Call, behaviour: b.Behaviour) -> Reply:
        match behaviour:
            case b.Refusal(text=text):
                return self.message(call, [{"type": "text", "text": text}], "refusal")
            case b.SafetyBlock(where="prompt"):
                return json_reply(self.fault(400, FILTERED), 400)
            case b.SafetyBlock():
                return self.failing(call, "A pic", self.fault(400, FILTERED))
            case b.Length(text=text):
                return self.message(call, [{"type": "text", "text": text}], "max_tokens")
            case b.ToolCall():
                used = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}, "json": "{}"}
                return self.message(call, [used], "tool_use")
            case b.EmptyChoices():
                return self.message(call, [], "end_turn")
            case b.ErrorInStream(message=message, text=text, code=code):
                return self.failing(call, text, self.fault(code, message))
            case b.Unfinished(text=text):
                return self.message(call, [{"type": "text", "text": text}], None)
        raise NotImplementedError(behaviour)

    def failing(self, call: Call, text: str, fault: dict[str, Any]) -> Reply:
        if not call.stream:
            return json_reply(fault)
        return event_stream([*self.events(call, [{"type": "text", "text": text}], None, PLAIN), fault])

    def message(self, call: Call, blocks: Blocks, reason: str | None, answer: b.Answer = PLAIN) -> Reply:
        if call.stream:
            return event_stream(self.events(call, blocks, reason, answer))
        content = [{name: value for name, value in block.items() if name != "json"} for block in blocks]
        return json_reply(self.envelope(call, content, reason, answer))

    def envelope(self, call: Call, content: Blocks, reason: str | None, answer: b.Answer) -> dict[str, Any]:
        usage = USAGES[answer.usage]
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": answer.model or call.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": None,
            **({} if usage is None else {"usage": usage}),
        }

    def events(self, call: Call, blocks: Blocks, reason: str | None, answer: b.Answer) -> Iterator[dict[str, Any]]:
        start = self.envelope(call, [], None, answer)
        usage = start.get("usage")
        yield {
            "type": "message_start",
            "message": {**start, **({"usage": {**usage, "output_tokens": 1}} if usage and any(usage.values()) else {})},
        }
        for index, block in enumerate(blocks):
            empty, deltas = split_block(block, answer.pieces)
            yield {"type": "content_block_start", "index": index, "content_block": empty}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            if reason:
                yield {"type": "content_block_stop", "index": index}
        if reason:
            counts = {"usage": {"output_tokens": usage["output_tokens"]}} if usage else {}
            yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, **counts}
            yield {"type": "message_stop"}


def split_block(block: dict[str, Any], count: int) -> tuple[dict[str, Any], Blocks]:
    """Return the empty block that starts a content block, and its deltas."""
    match block["type"]:
        case "thinking":
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": "s"},
            ]
            return {"type": "thinking", "thinking": "", "signature": ""}, deltas
        case "tool_use":
            texts = ["", *pieces(block["json"], count)]
            parts = [{"type": "input_json_delta", "partial_json": piece} for piece in texts]
            return {"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}}, parts
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"], count)]
    return {"type": "text", "text": ""}, deltas


def event_stream(events: Iterable[dict[str, Any]]) -> Reply:
    """Return server-sent events with names."""
    chunks = (f"event: {event['type']}\n".encode() + b"data: " + json_bytes(event) + b"\n\n" for event in events)
    return Reply(list(chunks), 200, "text/event-stream", streamed=True)
