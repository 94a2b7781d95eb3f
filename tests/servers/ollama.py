"""A server with Ollama's native protocol."""

from typing import Any

from tests.servers import behaviours as b
from tests.servers.base import WireServer
from tests.servers.call import Call, RefusedError, words
from tests.servers.reply import Reply, json_reply, lines, pieces
from tests.servers.variants import STB_IMAGES

USAGE = {"prompt_eval_count": 120, "eval_count": 30, "total_duration": 5_000_000, "eval_duration": 4_000_000}
USAGES: dict[str, dict[str, int]] = {"present": USAGE, "absent": {}}
OPTIONS = words(
    """num_keep seed num_predict top_k top_p min_p typical_p repeat_last_n temperature repeat_penalty
    presence_penalty frequency_penalty stop num_ctx num_batch num_gpu main_gpu use_mmap num_thread"""
)


class OllamaServer(WireServer):
    """Accept calls without a key, unless `key` is set, as in front of a proxy or in Ollama's cloud."""

    def read(self, call: Call) -> Reply | None:
        if self.key and call.headers.get("authorization") != f"Bearer {self.key}":
            raise RefusedError(401, "unauthorized")
        match call.method, call.path:
            case "GET", "/api/version":
                return json_reply({"version": "0.14.0"})
            case "GET", "/api/tags":
                return json_reply({"models": [{"name": name, "model": name} for name in self.models]})
            case "POST", "/api/chat":
                self.read_chat(call)
                return None
        raise RefusedError(404, "404 page not found", path=True)

    def read_chat(self, call: Call) -> None:
        body = call.read_json()
        call.model = body.get("model", "")
        call.stream = body.get("stream", True)
        call.options = {**(body.get("options") or {}), **{k: body[k] for k in ("keep_alive", "think") if k in body}}
        if call.model not in self.models:
            raise RefusedError(404, f"model '{call.model}' not found")
        for name in (body.get("options") or {}).keys() - OPTIONS:
            raise RefusedError(400, f"invalid option provided: {name}")
        self.read_messages(call, body.get("messages") or [])
        self.read_format(call, body.get("format"))

    def read_messages(self, call: Call, messages: list[dict[str, Any]]) -> None:
        if messages and messages[0]["role"] == "system":
            call.system = messages[0]["content"]
            messages = messages[1:]
        for index, message in enumerate(messages):
            if message.get("images") == []:  # datalab-to/marker#1076
                raise RefusedError(400, "images: the list is empty")
            for encoded in message.get("images") or []:
                call.add_image(encoded, refused=STB_IMAGES)
                call.parts.append("image")
            if index:
                call.turns.append((message["role"], message["content"]))
            else:
                call.prompt = message["content"]
                call.parts.append("text")

    def read_format(self, call: Call, format: Any) -> None:
        if format in (None, ""):
            return
        call.mode = "json_object" if format == "json" else "json_schema"
        if call.mode == "json_schema" and not isinstance(format, dict):
            raise RefusedError(400, f'invalid format: "{format}"; expected "json" or a valid JSON Schema object')
        self.check_mode(call)
        if isinstance(format, dict):
            call.schema = format

    def error(self, refused: RefusedError, call: Call | None = None) -> Reply:
        status, message, facts = refused.status, refused.message, refused.facts
        if facts.get("path"):
            return Reply([message.encode()], 404, "text/plain")
        if facts.get("schema"):
            message = "invalid JSON schema in format"
        if facts.get("too_long"):
            message = "input length exceeds the context length"
        if facts.get("no_credit"):
            message = "you have reached your usage limit, upgrade for higher limits"
        return json_reply({"error": message}, status, refused.headers)

    def answer(self, call: Call, text: str, answer: b.Answer) -> Reply:
        if not call.stream:
            message = {"content": text, **({"thinking": answer.thinking} if answer.thinking else {})}
            return json_reply(self.envelope(call, message, "stop", answer.model, answer.usage))
        thoughts = [self.envelope(call, {"content": "", "thinking": p}) for p in pieces(answer.thinking, 2) if p]
        parts = [self.envelope(call, {"content": piece}, model=answer.model) for piece in pieces(text, answer.pieces)]
        last = self.envelope(call, {"content": ""}, "stop", answer.model, answer.usage)
        return lines([*thoughts, *parts, last])

    def special(self, call: Call, behaviour: b.Behaviour) -> Reply:
        match behaviour:
            case b.Refusal(text=text):
                return self.say(call, text)
            case b.Length(text=text):
                return self.reply_with(call, {"content": text}, "length")
            case b.ToolCall():
                tool = {"function": {"name": "look", "arguments": {}}}
                return self.reply_with(call, {"content": "", "tool_calls": [tool]}, "stop")
            case b.EmptyChoices():
                envelope = self.envelope(call, {}, "stop")
                del envelope["message"]
                return lines([envelope]) if call.stream else json_reply(envelope)
            case b.ErrorInStream(message=message, text=text):
                some = self.envelope(call, {"content": text})
                return lines([some, {"error": message}]) if call.stream else json_reply({"error": message})
            case b.Unfinished(text=text):
                some = self.envelope(call, {"content": text})
                return lines([some]) if call.stream else json_reply(some)
        raise NotImplementedError(behaviour)

    def reply_with(self, call: Call, message: dict[str, Any], reason: str) -> Reply:
        if not call.stream:
            return json_reply(self.envelope(call, message, reason))
        return lines([self.envelope(call, message), self.envelope(call, {"content": ""}, reason)])

    def envelope(
        self, call: Call, message: dict[str, Any], reason: str = "", model: str = "", usage: str = "present"
    ) -> dict[str, Any]:
        final = {"done_reason": reason, **USAGES[usage]} if reason else {}
        name = model or call.model
        time = "2026-01-02T03:04:05.678Z"
        message = {"role": "assistant", **message}
        return {"model": name, "created_at": time, "message": message, "done": bool(reason), **final}
