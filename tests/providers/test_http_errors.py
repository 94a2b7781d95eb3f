"""Classification of error responses, with bodies from real servers."""

import time
from dataclasses import replace
from typing import Any

import pytest

from providers import errors
from providers.base import Credentials, Spec, VisionRequest
from providers.http_errors import classify

CPU_SECONDS = 3.0
SECRET = "sk-quoted-by-the-server"
SPEC = Spec("x", "X", "https://api.x.example/v1", key_env=("X_KEY",), needs_key=True)
REQUEST = VisionRequest("m1", "Look.", 5, credentials=Credentials("sk-of-the-call"))


def error_for(status: int, body: Any, *, schema_sent: bool = False, **fields: Any) -> errors.ProviderError:
    schema = {"type": "object"} if schema_sent else None
    request = replace(REQUEST, schema=schema, **fields)
    return classify(status, body, {}, SPEC, request)


def text(message: str, **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, **fields}}


BODIES: list[tuple[int, Any, type[errors.ProviderError]]] = [
    (401, text(f"Incorrect API key provided: {SECRET}", code="invalid_api_key"), errors.AuthFailed),
    (404, text("The model `m1` does not exist", code="model_not_found"), errors.UnknownModel),
    (404, {"error": 'model "m1" not found, try pulling it first'}, errors.UnknownModel),
    (404, [text("models/m1 is not found for API version v1beta")], errors.UnknownModel),
    (404, {"detail": "Not Found"}, errors.WrongPath),
    (404, "<html><h1>404 Not Found</h1></html>", errors.WrongPath),
    (400, text("Invalid model name passed in model=m1", code="400"), errors.UnknownModel),
    (400, text("API key not valid.", status="INVALID_ARGUMENT"), errors.AuthFailed),
    (400, text("x", code="context_length_exceeded"), errors.ContextTooLong),
    (400, text("x", code="content_policy_violation"), errors.Blocked),
    (429, text("You exceeded your current quota", code="insufficient_quota"), errors.QuotaExceeded),
    (429, text("You exceeded your current quota", status="EXHAUSTED"), errors.RateLimited),
    (404, text("model: m1", type="not_found_error"), errors.UnknownModel),  # these are Anthropic's
    (400, text("Your credit balance is too low to access the Anthropic API."), errors.QuotaExceeded),
    (400, text("input length and `max_tokens` exceed context limit: 190000 + 16384 > 200000"), errors.ContextTooLong),
    (400, text("max_tokens: 9 > 8, which is the maximum allowed number of output tokens for m1"), errors.InvalidOption),
    (400, text("At least one of the image dimensions exceed max allowed size: 8000 pixels"), errors.ImageRejected),
    (400, text("Could not process image", type="invalid_request_error"), errors.ImageRejected),
    (400, text("Output blocked by content filtering policy"), errors.Blocked),
    (403, text("Your chosen model requires moderation and your input was flagged", code=403), errors.Blocked),
    (403, text("This key has no access to the model"), errors.AuthFailed),
    (501, "", errors.ServerFailed),
    (405, "", errors.WrongPath),
]


@pytest.mark.parametrize(("status", "body", "expected"), BODIES)
def test_bodies_of_real_servers(status: int, body: Any, expected: type[errors.ProviderError]) -> None:
    error = error_for(status, body)
    assert type(error) is expected
    assert error.status == status
    assert SECRET not in f"{error} {error.provider_message}"
    unwrapped = body["error"] if isinstance(body, dict) and "error" in body else body
    assert type(error_for(status, unwrapped)) is expected  # the openai package unwraps `error`
    if expected not in (errors.RequestRejected, errors.ServerFailed):
        assert type(error_for(status, body, schema_sent=True)) is expected


def test_the_limit_of_max_tokens_is_in_the_message() -> None:
    message = "This model's maximum context length is 4096 tokens"
    error = error_for(400, text(message, param="max_tokens"), schema_sent=True)
    assert str(error) == "X rejected the value of max_tokens: the limit of this model is 4096."
    assert "temperature" in str(error_for(400, text("x", param="temperature")))
    assert SECRET not in str(error_for(400, text("x", param=SECRET)))


@pytest.mark.parametrize(
    ("status", "message", "explained"),
    [
        (400, "Invalid schema for response_format", True),
        (404, "No endpoints found that can handle the requested parameters.", True),  # block/buzz#3018
        (500, "[{'loc': ('body', 'response_format', 'type')}]", True),  # llama-cpp-python 0.3.36
        (500, "failed to load model vocabulary required for format", True),  # ollama/ollama#12422
        (400, "Thinking may not be enabled when tool_choice forces tool use.", True),
        (400, "Unable to process input image", False),  # vercel/ai#21192
    ],
)
def test_rejected_schema(status: int, message: str, explained: bool) -> None:
    error = error_for(status, text(message), schema_sent=True)
    assert isinstance(error, errors.SchemaRejected)
    assert error.explained is explained
    assert type(error_for(status, text(message))) is not errors.SchemaRejected


def test_listing_at_a_wrong_path_is_not_an_unknown_model() -> None:
    assert type(error_for(404, "Not Found: /wrong/models", model="")) is errors.WrongPath


@pytest.mark.parametrize("entry", [1, {"retryDelay": {}}], ids=str)
def test_a_body_of_millions_of_values_is_classified_in_bounded_time(entry: object) -> None:
    before = time.process_time()
    assert type(error_for(429, {"error": {"message": "m", "details": [entry] * 4_000_000}})) is errors.RateLimited
    assert time.process_time() - before < CPU_SECONDS


def test_a_key_error_names_the_variable() -> None:
    assert "X_KEY" in str(error_for(401, ""))
    assert "got none" in str(error_for(401, "", credentials=Credentials()))
