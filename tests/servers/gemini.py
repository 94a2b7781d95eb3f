"""A server with the Gemini API (v1beta)."""

from typing import Any

from tests.servers import behaviours as b
from tests.servers.base import WireServer
from tests.servers.call import Call, RefusedError, words
from tests.servers.reply import Reply, event_stream, json_reply, pieces
from tests.servers.schemas import gemini_fault

USAGE = {
    "promptTokenCount": 120,
    "candidatesTokenCount": 20,
    "thoughtsTokenCount": 10,
    "cachedContentTokenCount": 64,
    "totalTokenCount": 150,
}
UNDERWAY = {"candidatesTokenCount": 1, "totalTokenCount": 121}  # the counts of each event are cumulative
USAGES: dict[str, dict[str, int]] = {"present": USAGE, "absent": {}}
FIELDS = words("contents systemInstruction generationConfig safetySettings tools toolConfig cachedContent")
CONFIG_FIELDS = words(
    """candidateCount frequencyPenalty maxOutputTokens mediaResolution presencePenalty responseJsonSchema
    responseMimeType responseModalities responseSchema seed stopSequences temperature thinkingConfig topK topP"""
)
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
KEY = "AIza-test-right-key"


class GeminiServer(WireServer):
    """Require `x-goog-api-key`."""

    def __init__(self, *, key: str = KEY, models: tuple[str, ...] = ("gemini-2.5-flash",), **rest: Any) -> None:
        super().__init__(key=key, models=models, **rest)

    def read(self, call: Call) -> Reply | None:
        if not call.path.startswith("/v1beta/models"):
            raise RefusedError(404, "", path=True)
        self.check_key(call)
        name, _, verb = call.path.removeprefix("/v1beta/models").removeprefix("/").partition(":")
        if call.method == "GET":
            return self.listing(name)
        if verb not in ("generateContent", "streamGenerateContent"):
            raise RefusedError(404, "", path=True)
        call.model = name
        call.stream = verb == "streamGenerateContent"
        if call.stream and call.query.get("alt") != "sse":
            raise RefusedError(400, "This server only streams server-sent events.")
        self.read_content(call)
        return None

    def check_key(self, call: Call) -> None:
        key = call.headers.get("x-goog-api-key", "")
        if "key" in call.query:
            raise RefusedError(400, "The key must not be in the URL, which is logged.")
        if self.key and not key:
            raise RefusedError(403, "Method doesn't allow unregistered callers (callers without established identity).")
        if self.key and key != self.key:
            raise RefusedError(400, "API key not valid. Please pass a valid API key.", reason="API_KEY_INVALID")

    def listing(self, name: str) -> Reply:
        rows = [
            {"name": f"models/{model}", "displayName": model.title(), "supportedGenerationMethods": ["generateContent"]}
            for model in self.models
        ]
        if not name:
            return json_reply({"models": rows})
        if name not in self.models:
            raise self.unknown(name)
        return json_reply(rows[self.models.index(name)])

    def unknown(self, name: str) -> RefusedError:
        return RefusedError(
            404, f"models/{name} is not found for API version v1beta, or is not supported for generateContent."
        )

    def read_content(self, call: Call) -> None:
        body = call.read_json()
        if call.model not in self.models:
            raise self.unknown(call.model)
        config = body.get("generationConfig") or {}
        self.check_fields(body, FIELDS)
        self.check_fields(config, CONFIG_FIELDS)
        call.system = "".join(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", []))
        self.read_messages(call, body.get("contents") or [])
        call.options = {k: v for k, v in config.items() if not k.startswith("response")}
        call.options |= {k: body[k] for k in ("safetySettings",) if k in body}
        self.read_format(call, config)

    def check_fields(self, fields: dict[str, Any], known: frozenset[str]) -> None:
        for name in fields.keys() - known:
            raise RefusedError(400, f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')

    def read_messages(self, call: Call, contents: list[dict[str, Any]]) -> None:
        for index, content in enumerate(contents):
            if content.get("role") not in ("user", "model"):
                raise RefusedError(400, "Please use a valid role: user, model.")
            for part in content["parts"]:
                if not index:
                    self.read_part(call, part)
                elif part.keys() - {"text"}:
                    raise RefusedError(400, "An image follows the first message.")
                else:
                    call.turns.append((content["role"], part["text"]))

    def read_part(self, call: Call, part: dict[str, Any]) -> None:
        if "inlineData" in part:
            call.add_image(part["inlineData"]["data"], part["inlineData"]["mimeType"])
            call.parts.append("image")
        else:
            call.prompt += part["text"]
            call.parts.append("text")

    def read_format(self, call: Call, config: dict[str, Any]) -> None:
        if "responseSchema" in config:
            raise RefusedError(400, "responseSchema is obsolete; send responseJsonSchema.")
        schema = config.get("responseJsonSchema")
        as_json = config.get("responseMimeType") == "application/json"
        call.mode = "json_schema" if schema is not None else "json_object" if as_json else "text"
        self.check_mode(call)
        if schema is None:
            return
        if not as_json:
            raise RefusedError(400, "Function calling with a response mime type: 'text/plain' is unsupported.")
        call.schema = schema
        if (fault := gemini_fault(schema)) is not None:
            raise RefusedError(400, fault or "Request contains an invalid argument.")

    def error(self, refused: RefusedError, call: Call | None = None) -> Reply:
        status, message, facts = refused.status, refused.message, refused.facts
        if facts.get("path"):
            return Reply([b"<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>"], 404, "text/html")
        if facts.get("schema"):
            message = "Request contains an invalid argument."
        if facts.get("too_long"):
            message = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
        if facts.get("no_credit"):
            message = "You exceeded your current quota, please check your plan and billing details."
        body: dict[str, Any] = {"code": status, "message": message, "status": STATUSES.get(status, "UNKNOWN")}
        if details := self.details(facts):
            body["details"] = details
        return json_reply({"error": body}, status, facts.get("headers"))

    def details(self, facts: dict[str, Any]) -> list[dict[str, Any]]:
        details: list[dict[str, Any]] = []
        if facts.get("reason"):
            details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": facts["reason"]})
        if facts.get("retry_after") is not None:  # letterstory/lettertrace#34, fastrepl/anarlog#7306
            delay = f"{facts['retry_after']:g}s"
            details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
        return details

    def answer(self, call: Call, text: str, answer: b.Answer) -> Reply:
        thoughts = [{"text": answer.thinking, "thought": True}] if answer.thinking else []
        if not call.stream:
            return self.finished(call, [[*thoughts, {"text": text}]], "STOP", answer.model, answer.usage)
        parts = [[part] for part in thoughts] + [[{"text": piece}] for piece in pieces(text, answer.pieces)]
        return self.finished(call, parts, "STOP", answer.model, answer.usage)

    def special(self, call: Call, behaviour: b.Behaviour) -> Reply:
        match behaviour:
            case b.Refusal(text=text):
                return self.say(call, text)
            case b.SafetyBlock(where="prompt"):
                return self.bodies(call, [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": USAGE}])
            case b.SafetyBlock():
                return self.finished(call, [[{"text": "A pic"}]], "SAFETY")
            case b.Length(text=text):
                return self.finished(call, [[{"text": text}]], "MAX_TOKENS")
            case b.ToolCall():
                return self.finished(call, [[{"functionCall": {"name": "look", "args": {}}}]], "STOP")
            case b.EmptyChoices():
                return self.bodies(call, [{"usageMetadata": USAGE}])
            case b.ErrorInStream(message=message, text=text, code=code):
                error = {"error": {"code": code, "message": message, "status": "INTERNAL"}}
                return self.bodies(call, [self.body(call, [{"text": text}]), error][0 if call.stream else 1 :])
            case b.Unfinished(text=text):
                return self.bodies(call, [self.body(call, [{"text": text}])])
        raise NotImplementedError(behaviour)

    def finished(
        self, call: Call, parts: list[list[dict[str, Any]]], reason: str, model: str = "", usage: str = "present"
    ) -> Reply:
        *before, last = parts
        bodies = [self.body(call, some, model=model, usage=usage) for some in before]
        return self.bodies(call, [*bodies, self.body(call, last, reason, model, usage)])

    def body(
        self, call: Call, parts: list[dict[str, Any]], reason: str = "", model: str = "", usage: str = "present"
    ) -> dict[str, Any]:
        ended = {"finishReason": reason} if reason else {}
        candidate = {"content": {"role": "model", "parts": parts}, "index": 0, **ended}
        underway = UNDERWAY if usage == "present" and not reason else {}
        counts = {} if usage == "absent" else {"usageMetadata": {**USAGES[usage], **underway}}
        return {"candidates": [candidate], "modelVersion": model or call.model, "responseId": "r1", **counts}

    def bodies(self, call: Call, bodies: list[dict[str, Any]]) -> Reply:
        if not call.stream:
            return json_reply(bodies[0])
        return event_stream(bodies, done=False, newline=b"\r\n")
