"""Several perspectives over one image: what succeeds, what fails, and what the providers get to see."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any

import httpx
import pytest

from tests.api import streams
from tests.api.streams import API, GOOD, HANG_GUARD, PHOTO, SAMPLE, analysis, inline, post
from tests.contract.kinds import KINDS, Kind
from tests.contract.schemas import RICH
from tests.servers import Call, OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

ALL = {"ids": lambda kind: kind.id}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(GRAPHCAP_LOG="json") as running:
        yield running
        assert "Traceback" not in running.log


def found(service: Service, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = post(service, "/analyze", body)
    assert answer.status_code == status, answer.text
    told: dict[str, Any] = answer.json()
    return told


# What is answered.


def test_names_and_perspectives_that_come_whole_in_the_order_asked(service: Service, vllm_server: OpenAIServer) -> None:
    asked = ["training_tags", inline("zebra"), "alt_text", inline("ant", json_schema=RICH)]
    told = found(service, analysis(vllm_server, *asked))
    names = ["training_tags", "zebra", "alt_text", "ant"]
    assert list(told["results"]) == [one["perspective"] for one in told["results"].values()] == names
    assert set(told) == {"results", "errors", "synthesis", "image", "usage", "timing", "request_id"}
    assert (told["errors"], told["synthesis"]) == ({}, None)
    assert told["usage"] == {"input_tokens": 480, "output_tokens": 120, "cached_tokens": 256}
    assert (told["image"]["width"], told["image"]["bytes"]) == (600, PHOTO.stat().st_size)
    assert set(told["timing"]) == {"image", "perspectives", "total"}
    for made in told["results"].values():
        assert made["usage"] == {"input_tokens": 120, "output_tokens": 30, "cached_tokens": 64}
        assert {"model", "total"} <= set(made["timing"])
        assert made["request_id"] == told["request_id"]


def test_builtin_answers_as_it_does_alone(service: Service) -> None:
    names = ["graph_caption", "alt_text", "art_critic"]
    told = found(service, {"perspectives": names, "image": {"path": SAMPLE}})
    alone = post(service, "/alt_text/caption", {"image": {"path": SAMPLE}}).json()
    assert told["results"]["alt_text"]["result"] == alone["result"]
    assert told["usage"] is None


def test_as_multipart(service: Service, vllm_server: OpenAIServer) -> None:
    fields = {name: value for name, value in analysis(vllm_server, "alt_text").items() if name != "image"}
    parts = {
        "image": ("a.jpg", PHOTO.read_bytes()),
        "request": (None, httpx.Request("POST", "http://x", json=fields).content),
    }
    answer = httpx.post(service.url + API + "/analyze", files=parts, timeout=HANG_GUARD, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()["results"]) == ["alt_text"]
    assert vllm_server.call.image is not None
    assert vllm_server.call.image.data == PHOTO.read_bytes()


def test_a_list_is_a_part_as_well(service: Service) -> None:
    answer = httpx.post(
        service.url + API + "/analyze",
        files={"image": ("a.jpg", PHOTO.read_bytes())},
        data={"perspectives": '["alt_text", "graph_caption"]'},
        timeout=HANG_GUARD,
        trust_env=False,
    )
    assert list(answer.json()["results"]) == ["alt_text", "graph_caption"]


def test_each_perspective_takes_its_own_variables(service: Service, vllm_server: OpenAIServer) -> None:
    one = inline("one", "Look at {subject}.", variables=[{"name": "subject", "required": True}])
    two = inline("two", "In the style of {style}.", variables=[{"name": "style", "default": "plain"}])
    body = analysis(vllm_server, one, two, "alt_text", variables={"subject": "the cup", "style": "noir"})
    found(service, body)
    prompts = "\n".join(call.prompt for call in vllm_server.calls)
    assert "Look at the cup." in prompts
    assert "In the style of noir." in prompts


# What fails.


def test_one_that_fails_does_not_fail_the_others(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Status(401))
    told = found(service, analysis(vllm_server, *(inline(f"p{number}") for number in range(4))))
    assert (len(told["results"]), len(told["errors"])) == (3, 1)
    ((name, problem),) = told["errors"].items()
    assert name not in told["results"]
    assert (problem["status"], problem["code"], problem["provider"]) == (502, "provider_auth", "vllm")
    assert problem["instance"] == told["request_id"]
    assert told["usage"]["input_tokens"] == 360


def test_each_has_its_own_four_calls(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.WrongSchema()
    found(service, analysis(vllm_server, inline("one"), inline("two"), max_output_retries=3), 502)
    assert len(vllm_server.calls) == 8


def test_all_failed_alike(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.NoCredit()
    answer = post(service, "/analyze", analysis(vllm_server, inline("one"), inline("two"), synthesize="alt_text"))
    told = answer.json()
    assert (answer.status_code, told["status"], told["code"]) == (402, 402, "provider_quota")
    assert list(told["errors"]) == ["one", "two", "alt_text"]
    assert told["errors"]["one"]["code"] == "provider_quota"
    assert "nothing to synthesize" in told["errors"]["alt_text"]["detail"]
    assert told["message"] == told["detail"]


def test_all_failed_of_different_things(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.NoCredit(), b.Refusal())
    told = found(service, analysis(vllm_server, inline("one"), inline("two")), 502)
    assert told["code"] == "provider_error"
    assert {one["code"] for one in told["errors"].values()} == {"provider_quota", "refused"}
    assert "one:" in told["detail"]
    assert "two:" in told["detail"]


def test_a_picture_that_is_not_there_fails_all(service: Service) -> None:
    body = {"perspectives": ["alt_text", "graph_caption"], "image": {"path": "datasets/none.jpg"}}
    told = found(service, body, 404)
    assert told["code"] == "image_not_found"
    assert [one["code"] for one in told["errors"].values()] == ["image_not_found"] * 2


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "twice": ({"perspectives": ["alt_text", "alt_text"]}, 422, "Repeated: alt_text"),
    "a name and the same whole": ({"perspectives": ["alt_text", inline("alt_text")]}, 422, "Repeated: alt_text"),
    "synthesize named before": ({"perspectives": ["alt_text"], "synthesize": "alt_text"}, 422, "Repeated: alt_text"),
    "33": ({"perspectives": [inline(f"p{number}") for number in range(33)]}, 422, "at most 32"),
    "none": ({"perspectives": []}, 422, "at least 1"),
    "no list": ({}, 422, "perspectives: is required"),
    "unknown": ({"perspectives": ["alt_text", "alt_txt"]}, 404, "alt_txt"),
    "unknown synthesizer": ({"perspectives": ["alt_text"], "synthesize": "alt_txt"}, 404, "alt_txt"),
    "a bad one": ({"perspectives": ["alt_text", {"name": "x"}]}, 422, "not valid"),
    "two images": (
        {"perspectives": ["alt_text"], "image": {"path": SAMPLE, "url": "http://a.invalid"}},
        422,
        "one image",
    ),
    "no image": ({"perspectives": ["alt_text"], "image": None}, 422, "one image"),
    "unknown variable": ({"perspectives": ["alt_text"], "variables": {"subjekt": "x"}}, 422, "subjekt"),
    "missing variable": (
        {"perspectives": [inline("p", "{a}", variables=[{"name": "a", "required": True}])]},
        422,
        "a",
    ),
    "a caption's field": ({"perspectives": ["alt_text"], "perspective": "alt_text"}, 422, "not a field"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_any_work(service: Service, vllm_server: OpenAIServer, name: str) -> None:
    body, status, said = REFUSED[name]
    told = found(service, {**analysis(vllm_server), **body} if "perspectives" in body else {"image": {}}, status)
    assert said in told["detail"]
    assert vllm_server.calls == []


# The one that comes last.


def test_the_synthesizer_gets_what_the_others_said(service: Service, vllm_server: OpenAIServer) -> None:
    first = inline("first", "FIRST", context_template="I saw {caption}")
    second = inline("second", "SECOND")
    last = inline("last", "LAST")
    vllm_server.default = b.Answer(GOOD)
    told = found(service, analysis(vllm_server, first, second, synthesize=last, context=["Taken in May."]))
    assert list(told["results"]) == ["first", "second"]
    assert told["synthesis"]["perspective"] == "last"
    assert set(told["timing"]) == {"image", "perspectives", "synthesis", "total"}
    assert told["usage"]["input_tokens"] == 360
    call = vllm_server.calls[-1]
    assert "</context>\n\nLAST" in call.prompt
    contexts = re.findall(r"<context>\n(.*?)\n</context>", call.prompt, re.DOTALL)
    assert contexts == ["first:\nI saw a cup on a table", "second:\na cup on a table", "Taken in May."]
    assert call.image is not None
    assert call.image.data == PHOTO.read_bytes()


def test_the_synthesizer_does_without_those_that_failed(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Status(401))
    told = found(service, analysis(vllm_server, inline("one"), inline("two"), synthesize="synthesized_caption"))
    (made,) = told["results"]
    (failed,) = told["errors"]
    assert f"{made}:\n" in vllm_server.calls[-1].prompt
    assert f"{failed}:\n" not in vllm_server.calls[-1].prompt
    assert told["synthesis"]["perspective"] == "synthesized_caption"


def test_a_synthesizer_that_fails(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.reply(b.Answer(GOOD), b.Status(401))
    told = found(service, analysis(vllm_server, inline("one"), synthesize=inline("last")))
    assert (list(told["results"]), list(told["errors"]), told["synthesis"]) == (["one"], ["last"], None)


# What the providers see.


def test_they_run_at_once(service: Service, vllm_server: OpenAIServer) -> None:
    vllm_server.default = b.Hold()
    body = analysis(vllm_server, *(inline(f"p{number}") for number in range(32)))
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(found, service, body)
        vllm_server.wait_for_calls(32, HANG_GUARD)
        assert not answer.done()
        vllm_server.release()
        assert len(answer.result()["results"]) == 32


@pytest.mark.parametrize("kind", KINDS, **ALL)
def test_everything_before_the_prompt_is_the_same(service: Service, kind: Kind) -> None:
    with kind.server() as server:
        body = {
            **streams.target(server, kind),
            "perspectives": ["alt_text", inline("two", json_schema=RICH), inline("three", "Something else.")],
            "synthesize": inline("last"),
            "global_context": "Be brief.",
            "seed": 7,
        }
        told = found(service, body)
        assert len(told["results"]) == 3
        assert len(server.calls) == 4
        for call in server.calls:
            assert call.parts == ["image", "text"]
            assert [picture.sha256 for picture in call.images] == [sha256(PHOTO.read_bytes()).hexdigest()]
        cached = 64 * 4 if kind.caches else None
        assert told["usage"]["cached_tokens"] == cached
        heads = {before_the_prompt(call) for call in server.calls}
        assert len(heads) == 1
        assert "Be brief." in heads.pop()


def before_the_prompt(call: Call) -> str:
    """What the model reads before the prompt, as it stands on the wire: system text and picture."""
    raw = call.raw.decode()
    if call.path == "/api/chat":  # Ollama's template puts a message's pictures before its text
        system, user = call.body["messages"][:2]
        return f"{system} {user['images']}"
    if "contents" in call.body:  # Gemini reads the system instruction first, wherever it stands in the JSON
        return str(call.body["systemInstruction"]) + raw[raw.index('"contents"') : raw.index('"text"')]
    messages = raw[raw.index('"messages"') :]
    return messages[: messages.index('"text":')]
