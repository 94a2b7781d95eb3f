"""What is wrong with one endpoint alone, or takes all the time, does not keep the others from answering."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.dispatch.gateway import ask, fields, gateway, health, provider, refusal, servers, tried
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

SECONDS = 4
ASKED = 8


@dataclass
class Running:
    service: Service
    bad: OpenAIServer
    good: OpenAIServer


def pair(name: str, bad: OpenAIServer, good: OpenAIServer) -> str:
    one, two = (f'{{ base_url = "{url.url}", name = "{kind}" }}' for url, kind in ((bad, "bad"), (good, "good")))
    off = f'{{ base_url = "{good.url}/off", name = "off", enabled = false }}'
    return provider(name, one, two, off)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with servers(2) as (bad, good):
        toml = "".join(pair(name, bad, good) for name in ("html", "cut", "key", "model", "hang"))
        alone = f'{{ base_url = "{bad.url}", name = "bad" }}'
        toml += provider("backed", alone, fallbacks='[{ provider = "spare" }]')
        toml += provider("spare", f'{{ base_url = "{good.url}", name = "good" }}')
        with gateway(
            tmp_path_factory.mktemp("workspace"), toml, GRAPHCAP_TIMEOUT=str(SECONDS), OPENAI_API_KEY="k"
        ) as service:
            ask(service, "spare")  # the first of its kind imports an SDK, and that is no provider's fault
            yield Running(service, bad, good)


@pytest.fixture
def running(started: Running) -> Running:
    for one in (started.bad, started.good):
        one.script.clear()
        one.calls.clear()
        one.default = b.Answer()
    return started


@pytest.mark.parametrize(("name", "behaviour"), [("html", b.NotJson()), ("cut", b.Cut())])
def test_a_reply_that_is_none_is_asked_for_elsewhere(running: Running, name: str, behaviour: b.Behaviour) -> None:
    running.bad.default = behaviour
    found = [tried(ask(running.service, name)) for _ in range(ASKED)]
    assert [("bad", "bad_reply"), ("good", "ok")] in found
    assert all(one[-1] == ("good", "ok") for one in found)
    assert len(running.bad.calls) == 1


@pytest.mark.parametrize(("name", "code"), [("key", 401), ("model", 404)])
def test_who_fails_at_once_does_not_get_all_calls(running: Running, name: str, code: int) -> None:
    running.bad.default = b.Status(code)
    found = [ask(running.service, name).status_code for _ in range(ASKED)]
    assert sorted(found) == [200] * (ASKED - 1) + [502]
    assert len(running.bad.calls) == 1


@pytest.mark.slow
def test_who_hangs_does_not_take_all_the_time(running: Running) -> None:
    for _ in range(2):
        tried(ask(running.service, "hang"))
    running.bad.default = b.Hang("connect")
    found = [tried(ask(running.service, "hang")) for _ in range(3)]
    assert [("bad", "call_timeout"), ("good", "ok")] in found


def test_who_stands_in_for_one_that_hangs_is_asked(running: Running) -> None:
    running.bad.default = b.Hang("connect")
    assert tried(ask(running.service, "backed")) == [("bad", "call_timeout"), ("good", "ok")]


@pytest.mark.slow
def test_a_stand_in_without_time_hides_nothing(running: Running) -> None:
    running.bad.default = running.good.default = b.Hang("connect")
    answer = ask(running.service, "backed")
    assert refusal(answer) == (504, "timeout")
    assert answer.json()["provider"] in ("backed", "spare")


def test_health_tells_of_all(running: Running) -> None:
    assert health(running.service, "key")["endpoints"]["off"]["status"] == "disabled"
    assert health(running.service, "openai")["status"] == "unknown"


def test_what_has_begun_is_not_bought_again(running: Running) -> None:
    running.bad.default = running.good.default = b.Hang("first")

    url = f"{running.service.url}/perspectives/caption"
    asked = fields("html")
    headers = {"Accept": "text/event-stream"}
    httpx.post(url, json=asked, headers=headers, timeout=20, trust_env=False)
    assert len(running.bad.calls) + len(running.good.calls) == 1
