"""How often one caller may ask: by key, by address, counted by each worker or by all instances together."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import httpx
import pytest

from bridge.api.rates import _AGAIN_SECONDS, Rates, address
from bridge.errors import RateLimitExceeded
from bridge.settings import Settings
from tests.api.sockets import socket
from tests.api.streams import HANG_GUARD, SAMPLE
from tests.service import Service
from tests.tools import need

BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}
MONTH = 30 * 24 * 3600
"""The window of most limits here: it begins by the clock, and no test should see the next one begin."""
KEYS = ("our-first-key-12345", "our-second-key-6789")


def post(service: Service, **headers: str) -> httpx.Response:
    url = service.url + "/api/v1/perspectives/caption"
    return httpx.post(url, json=BODY, headers=headers, timeout=HANG_GUARD, trust_env=False)


def test_a_caller_who_asks_too_often_is_told_when_to_come_back() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="2/month") as service:
        first = post(service, Origin="http://localhost:5173")
        assert (first.status_code, first.headers["ratelimit-limit"], first.headers["ratelimit-remaining"]) == (
            200,
            "2",
            "1",
        )
        assert first.headers["ratelimit-policy"] == f"2;w={MONTH}"
        assert 0 < int(first.headers["ratelimit-reset"]) <= MONTH
        assert "RateLimit-Remaining" in first.headers["access-control-expose-headers"]
        assert post(service).headers["ratelimit-remaining"] == "0"
        refused = post(service)
        problem = refused.json()
        assert (refused.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
        assert 0 < problem["retry_after"] <= MONTH
        assert int(refused.headers["retry-after"]) == problem["retry_after"]
        assert "2 requests per month" in problem["detail"]
        assert refused.headers["x-request-begun"] == "no"
        assert (refused.headers["ratelimit-remaining"], refused.headers["ratelimit-limit"]) == ("0", "2")
        for path in ("/health", "/livez", "/api/v1/perspectives/list", "/info"):
            assert httpx.get(service.url + path, trust_env=False).status_code == 200


def test_each_key_has_its_own_count_and_who_guesses_is_counted_by_address() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="2/month", GRAPHCAP_API_KEYS=",".join(KEYS)) as service:
        for key in KEYS:
            answers = [post(service, **{"X-API-Key": key}).status_code for _ in range(3)]
            assert answers == [200, 200, 429]
        guesses = [post(service, **{"X-API-Key": f"guess-{number}"}).json()["code"] for number in range(3)]
        assert guesses == ["unauthorized", "unauthorized", "rate_limited"]
        assert httpx.get(service.url + "/info", trust_env=False).status_code == 429
        with socket(service) as one:
            one.send("auth", api_key="another-guess")
            assert one.problem()["code"] == "rate_limited"
        assert httpx.get(service.url + "/health", trust_env=False).status_code == 200
    assert not any(piece in service.log for piece in ("our-first-key", "guess-1"))


def test_a_frame_that_is_refused_counts_as_a_request_that_is() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="4/month") as service, socket(service) as one:
        for frame in ("{", '{"a": [' + "0," * 200_001 + "0]}", '{"type": "sing", "id": "a"}', '{"type": "caption"}'):
            one.raw(frame)
            assert one.next()["problem"]["status"] in (400, 422)
        assert post(service).status_code == 429


def test_a_socket_counts_each_of_its_requests() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="2/month") as service, socket(service) as one:
        for name in ("a", "b"):
            one.send("caption", name, **BODY)
            one.story(name, "alt_text")
        one.send("caption", "c", **BODY)
        problem = one.problem("c")
        assert (problem["code"], problem["retry_after"] > 0) == ("rate_limited", True)
        assert post(service).status_code == 429


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("203.0.113.9", "address 203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", "address 203.0.113.9"),
        ("", "address "),
        ("a-socket", "address a-socket"),
    ],
)
def test_an_ipv6_network_is_one_caller(host: str, caller: str) -> None:
    assert address({"client": (host, 1)}) == caller


async def test_the_tightest_of_several_limits_counts() -> None:
    rates = Rates(Settings(rate_limit="100/month; 3/day, 50 per 2 months"))
    spent = [await rates.spend("x") for _ in range(3)]
    assert [(one.limit, one.remaining) for one in spent if one] == [(3, 2), (3, 1), (3, 0)]
    with pytest.raises(RateLimitExceeded, match="3 requests per day"):
        await rates.spend("x")
    assert (await rates.spend("y")) is not None


async def test_without_a_limit_nothing_is_counted() -> None:
    assert await Rates(Settings()).spend("x") is None


# Redis.


@contextmanager
def redis(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A Redis server of our own, that keeps nothing: its address, its process."""
    program = need("redis-server")
    place = path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(place), "--save", "", "--appendonly", "no", "--dir", str(path)]
    with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
        try:
            yield f"redis+unix://{place}?db=0", process
        finally:
            process.terminate()
            process.communicate(timeout=HANG_GUARD)


@pytest.mark.slow
def test_instances_that_share_redis_count_together(tmp_path: Path) -> None:
    with redis(tmp_path) as (place, _):
        settings = {"GRAPHCAP_RATE_LIMIT": "3/month", "GRAPHCAP_RATE_LIMIT_STORAGE": place}
        with Service(**settings) as one, Service("--workers", "2", **settings) as other:
            assert [post(service).status_code for service in (one, other, other, one, other)] == [200] * 3 + [429] * 2
    assert place not in one.log + other.log


def test_without_redis_each_worker_counts_by_itself_and_requests_go_on(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with redis(tmp_path) as (place, _):
            settings = {"GRAPHCAP_RATE_LIMIT": "2/month", "GRAPHCAP_RATE_LIMIT_STORAGE": place}
            service = stack.enter_context(Service(**settings))
            assert post(service).headers["ratelimit-remaining"] == "1"
        assert [post(service).status_code for _ in range(3)] == [200, 200, 429]
    assert service.log.count("GRAPHCAP_RATE_LIMIT_STORAGE does not answer (ConnectionError)") == 1
    assert "Traceback" not in service.log
    assert place not in service.log


@pytest.mark.slow
def test_a_redis_that_is_back_counts_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with redis(tmp_path) as (place, _):
            settings = {"GRAPHCAP_RATE_LIMIT": "1000/month", "GRAPHCAP_RATE_LIMIT_STORAGE": place}
            service = stack.enter_context(Service(**settings))
            assert post(service).headers["ratelimit-remaining"] == "999"
        assert [post(service).headers["ratelimit-remaining"] for _ in range(2)] == ["999", "998"]
        with redis(tmp_path):  # a new one, which knows of nobody
            end = monotonic() + 3 * _AGAIN_SECONDS
            while (left := post(service).headers["ratelimit-remaining"]) != "999":
                assert monotonic() < end, left
                Event().wait(0.2)
        service.wait_for_log("GRAPHCAP_RATE_LIMIT_STORAGE answers again")


@pytest.mark.slow
def test_a_redis_that_hangs_holds_nobody_up(tmp_path: Path) -> None:
    with redis(tmp_path) as (place, process):
        settings = {"GRAPHCAP_RATE_LIMIT": "9/month", "GRAPHCAP_RATE_LIMIT_STORAGE": place}
        with Service(**settings) as service:
            assert post(service).headers["ratelimit-remaining"] == "8"
            process.send_signal(signal.SIGSTOP)
            try:
                assert [post(service).headers["ratelimit-remaining"] for _ in range(2)] == ["8", "7"]
            finally:
                process.send_signal(signal.SIGCONT)
    assert "does not answer (TimeoutError)" in service.log
