"""What an error reply means: status first, words second, and no word of it repeated."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from providers.classify import api_key, classify

from providers import errors
from providers.base import Credentials, Spec
from providers.hints import retry_after

SECRET = "sk-quoted-by-the-server"
SPEC = Spec("x", "X", "https://api.x.example/v1", key_env=("X_KEY",), needs_key=True)


def told(status: int, body: Any, *, schema_sent: bool = False, model: str = "m1", **more: Any) -> errors.ProviderError:
    return classify(status, body, {}, schema_sent=schema_sent, title="X", model=model, **more)


# Bodies as they were seen: OpenAI, vLLM, llama-server, LiteLLM, transformers serve, OpenRouter, Ollama, Gemini.
BODIES: list[tuple[int, Any, type[errors.ProviderError]]] = [
    (
        401,
        {"error": {"message": f"Incorrect API key provided: {SECRET}", "code": "invalid_api_key"}},
        errors.AuthFailed,
    ),
    (404, {"error": {"message": "The model `m1` does not exist", "code": "model_not_found"}}, errors.UnknownModel),
    (404, {"object": "error", "message": "The model `m1` does not exist.", "code": 404}, errors.UnknownModel),
    (404, {"error": 'model "m1" not found, try pulling it first'}, errors.UnknownModel),
    (404, [{"error": {"message": "models/m1 is not found for API version v1beta"}}], errors.UnknownModel),
    (404, {"error": {"message": "No endpoints found for m1.", "code": 404}}, errors.UnknownModel),
    (404, {"detail": "Not Found"}, errors.WrongPath),
    (404, "<html><h1>404 Not Found</h1></html>", errors.WrongPath),
    (404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, errors.WrongPath),
    (400, {"error": {"message": "Invalid model name passed in model=m1", "code": "400"}}, errors.UnknownModel),
    (400, {"detail": "m1 is not a local folder and is not a valid model identifier"}, errors.UnknownModel),
    (400, {"error": {"message": "API key not valid.", "status": "INVALID_ARGUMENT"}}, errors.AuthFailed),
    (400, {"error": {"message": "x", "code": "context_length_exceeded"}}, errors.ContextTooLong),
    (400, {"error": {"code": 400, "message": "x", "type": "exceed_context_size_error"}}, errors.ContextTooLong),
    (400, {"error": {"message": "x", "code": "content_policy_violation"}}, errors.Blocked),
    (400, {"error": {"message": "x", "code": "billing_hard_limit_reached"}}, errors.QuotaExceeded),
    (400, {"error": {"message": "x", "code": None}}, errors.RequestRejected),
    (
        429,
        {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        errors.QuotaExceeded,
    ),
    (429, {"error": {"message": "You exceeded your current quota", "status": "EXHAUSTED"}}, errors.RateLimited),
    (500, {"error": {"message": "blocked by policy, bad api key, unknown model"}}, errors.ServerFailed),
    (501, "", errors.ServerFailed),
    (304, "", errors.WrongPath),
    (405, "", errors.WrongPath),
    (409, "", errors.RequestRejected),
]


@pytest.mark.parametrize(("status", "body", "wanted"), BODIES)
def test_bodies_that_were_seen(status: int, body: Any, wanted: type[errors.ProviderError]) -> None:
    error = told(status, body)
    assert type(error) is wanted
    assert error.status == status
    assert SECRET not in str(error)
    unwrapped = body["error"] if isinstance(body, dict) and "error" in body else body
    assert type(told(status, unwrapped)) is wanted  # the openai package hands over the inside


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Invalid schema for response_format"),
        (400, "Unable to process input image"),  # vercel/ai#21192
        (422, "anything at all"),
        (404, "No endpoints found that can handle the requested parameters."),  # block/buzz#3018
        (500, "[{'loc': ('body', 'response_format', 'type')}]"),  # llama-cpp-python 0.3.36
    ],
)
def test_what_a_simpler_output_mode_may_cure(status: int, message: str) -> None:
    body = {"error": {"message": message}}
    assert type(told(status, body, schema_sent=True)) is errors.SchemaRejected
    assert type(told(status, body)) is not errors.SchemaRejected


def test_a_reason_that_is_told_beats_the_schema() -> None:
    for status, body, wanted in BODIES[9:16]:
        assert type(told(status, body, schema_sent=True)) is wanted


def test_a_parameter_that_is_known_is_named_and_no_other() -> None:
    body = {"error": {"message": "x", "param": "temperature", "code": "unsupported_value"}}
    assert "temperature" in str(told(400, body, schema_sent=True))
    assert SECRET not in str(told(400, {"error": {"message": "x", "param": SECRET}}))


def test_listing_at_a_wrong_path_is_no_unknown_model() -> None:
    assert type(told(404, "Not Found: /wrong/models", model="")) is errors.WrongPath


def test_the_key_sentence_says_where_to_look() -> None:
    assert "X_API_KEY" in str(told(401, "", key_env="X_API_KEY"))
    assert "got none" in str(told(401, "", key_sent=False))


@pytest.mark.parametrize("body", [None, 3, [], [[[[[[[[[[["deep"]]]]]]]]]]], {"error": None}, "x" * 100_000])
def test_odd_bodies(body: Any) -> None:
    assert type(told(400, body)) is errors.RequestRejected


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({"Retry-After": "7"}, None, 7.0),
        ({"retry-after": "0.5"}, None, 0.5),
        ({"retry-after": "9", "retry-after-ms": "1500"}, None, 1.5),
        ({"retry-after": "-3"}, None, 0.0),
        ({"retry-after": "nan"}, None, None),
        ({"retry-after": "soon"}, None, None),
        ({}, {"error": {"details": [{"@type": "x"}, {"retryDelay": "34.07s"}]}}, 34.07),
        ({}, [{"details": [{"retryDelay": 34}]}], None),
        ({}, None, None),
    ],
)
def test_retry_after(headers: dict[str, str], body: Any, wanted: float | None) -> None:
    assert retry_after(headers, body) == wanted


def test_retry_after_a_date() -> None:
    moment = datetime.now(UTC) + timedelta(seconds=60)
    assert 50 < (retry_after({"retry-after": format_datetime(moment, usegmt=True)}) or 0) <= 60
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


def test_only_what_passes_carries_a_wait() -> None:
    hint = {"retry-after": "7"}
    assert classify(429, "", hint, schema_sent=False, title="X", model="m").retry_after == 7
    assert classify(401, "", hint, schema_sent=False, title="X", model="m").retry_after is None


def test_a_key_is_trimmed_and_checked() -> None:
    assert api_key(Credentials(" sk-1\n"), SPEC, SPEC.base_url) == "sk-1"
    with pytest.raises(errors.AuthFailed) as caught:
        api_key(Credentials("sk-\n1"), SPEC, SPEC.base_url)
    assert "sk-" not in str(caught.value)


def test_only_the_provider_itself_surely_needs_its_key() -> None:
    with pytest.raises(errors.AuthFailed, match="Set X_KEY, or send api_key"):
        api_key(Credentials(), SPEC, "https://api.x.example:443/other/v2")
    assert api_key(Credentials(), SPEC, "http://api.x.example/v1") == ""
    assert api_key(Credentials(), replace(SPEC, needs_key=False), SPEC.base_url) == ""
