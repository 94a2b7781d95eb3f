"""The same requests through one bridge and through three behind nginx: the same answers, whichever of them are gone."""

import base64
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api import streams
from tests.api.sockets import socket
from tests.deploy.fleet import BODY, CAPTION, ELSEWHERE, PAGE, client, fleet, without_times
from tests.servers import OpenAIServer
from tests.servers import behaviours as b
from tests.service import Service

pytestmark = pytest.mark.slow


def plain(service: Any, server: OpenAIServer) -> Iterator[Any]:
    """One caption through every door, and what bad requests get."""
    picture = streams.PHOTO.read_bytes()
    chat = {
        "model": "alt_text",
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image_url",
                        "image_url": {"url": "data:image/jpeg;base64," + base64.b64encode(picture).decode()},
                    }
                ],
            }
        ],
    }
    with client(service.url, headers={"Origin": PAGE}) as caller:
        asked: list[Callable[[], httpx.Response]] = [
            lambda: caller.get("/api/v1/perspectives/list"),
            lambda: caller.get("//api/v1//perspectives/alt_text"),
            lambda: caller.post(CAPTION, json=BODY),
            lambda: caller.post(CAPTION, json=streams.caption(server)),
            lambda: caller.post(CAPTION, json=streams.caption(server), headers={"Accept": "text/plain"}),
            lambda: caller.post("/perspectives/alt_text/caption", files={"image": ("a.jpg", picture, "image/jpeg")}),
            lambda: caller.post(
                "/api/v1/perspectives/analyze", json=streams.analysis(server, "alt_text", "art_critic")
            ),
            lambda: caller.post("/v1/chat/completions", json=chat),
            lambda: caller.post(CAPTION, json={**BODY, "perspective": "absent"}),
            lambda: caller.post(CAPTION, content=b"{", headers={"Content-Type": "application/json"}),
            lambda: caller.post(CAPTION, json=BODY, headers={"Origin": ELSEWHERE}),
            lambda: caller.options(CAPTION, headers={"Access-Control-Request-Method": "POST"}),
            lambda: caller.get("/absent"),
            lambda: caller.delete(CAPTION),
        ]
        for ask in asked:
            answer = ask()
            text = answer.headers.get("content-type", "").startswith("text/plain")
            yield answer.status_code, kept(answer), answer.text if text else without_times(answer.json())


def kept(answer: httpx.Response) -> dict[str, str]:
    """The header without what belongs to one connection or one moment."""
    changing = {"date", "server", "connection", "x-request-id", "server-timing", "content-length", "transfer-encoding"}
    return {name: value for name, value in answer.headers.items() if name not in changing}


def streamed(service: Any, server: OpenAIServer) -> Iterator[Any]:
    """What streams end in: their partials depend on the moment."""
    for path, body in (
        ("/caption", streams.caption(server)),
        ("/analyze", streams.analysis(server, streams.inline("one"), streams.inline("two"))),
    ):
        told = streams.streamed(service, path, body)
        kept = [without_times(one) for one in told if streams.is_end(one) or one["type"] in ("started", "done")]
        yield sorted(kept, key=lambda one: (one["type"], one.get("perspective", "")))
    server.reply(b.Status(500), b.Status(500), b.Status(500), b.Status(500))
    yield without_times(streams.of_type(streams.streamed(service, "/caption", streams.caption(server)), "error"))
    with socket(service) as one:
        one.send("caption", "a", **streams.caption(server))
        yield [without_times(event) for event in one.story("a", "mine") if streams.is_end(event)]
        one.send("caption", "b", perspective="absent", image={"path": streams.SAMPLE})
        yield without_times(one.problem("b"))


def sequence(service: Any, server: OpenAIServer, between: Callable[[int], None] = lambda number: None) -> list[Any]:
    """Everything, one after another; `between` is told before each."""
    answers = []
    numbers = count()
    for part in (plain, streamed):
        made = part(service, server)
        while True:
            between(next(numbers))
            try:
                answers.append(next(made))
            except StopIteration:
                break
    return answers


def test_three_bridges_answer_as_one_does(tmp_path: Path, vllm_server: OpenAIServer) -> None:
    with Service() as one:
        expected = sequence(one, vllm_server)
    with fleet(tmp_path) as bridges:
        found = sequence(bridges, vllm_server)
        for alone, together in zip(expected, found, strict=True):
            assert together == alone
        with client(bridges.url) as caller:
            assert len(bridges.nginx.asked(caller.get("/livez"))) == 3


def test_killing_a_bridge_between_requests_changes_nothing(tmp_path: Path, vllm_server: OpenAIServer) -> None:
    with Service() as one:
        expected = sequence(one, vllm_server)
    # They are killed faster here than nginx trusts again the ones that were started anew.
    with fleet(tmp_path, changes={"fail_timeout=2s": "max_fails=0"}) as bridges:

        def kill_one(number: int) -> None:
            if number % 6 == 3:
                victim = number // 6 % 3
                bridges.kill(victim)
                if number % 12 == 9:  # now and then two are gone
                    bridges.start((victim + 2) % 3)

        found = sequence(bridges, vllm_server, kill_one)
    assert found == expected
