"""Rate limits by API key and by address, counted in memory or in Redis."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from bridge.api.middleware.rate_limit import RateLimiter, client_address
from bridge.errors import RateLimitExceeded
from bridge.settings import Settings
from tests.api import streams
from tests.api.sockets import socket
from tests.api.streams import SAMPLE
from tests.guard import GUARD
from tests.service import Service, until
from tests.tools import need

BODY = {"perspective": "alt_text", "image": {"path": SAMPLE}}
MONTH = 30 * 24 * 3600
"""The window of most limits here: it begins by the clock, and no test should see the next one begin."""
KEYS = ("our-first-key-12345", "our-second-key-6789")


def post(service: Service, **headers: str) -> httpx.Response:
    return streams.post(service, "/caption", BODY, headers=headers)


def test_a_limited_caller_gets_headers_and_a_problem() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="2/month") as service:
        first = post(service, Origin="http://localhost:5173")
        names = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-policy")
        assert [first.headers[name] for name in names] == ["2", "1", f"2;w={MONTH}"]
        assert 0 < int(first.headers["ratelimit-reset"]) <= MONTH
        assert "RateLimit-Remaining" in first.headers["access-control-expose-headers"]
        assert post(service).headers["ratelimit-remaining"] == "0"
        limited = post(service)
        problem = limited.json()
        assert (limited.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
        assert 0 < problem["retry_after"] <= MONTH
        assert int(limited.headers["retry-after"]) == problem["retry_after"]
        assert "2 requests per month" in problem["detail"]
        assert [limited.headers[name] for name in (*names[:2], "x-request-begun")] == ["2", "0", "no"]
        for path in ("/health", "/livez", "/api/v1/perspectives/list", "/info"):
            assert service.get(path).status_code == 200


@pytest.mark.slow
def test_valid_keys_are_limited_separately_and_invalid_keys_by_address() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="2/month", GRAPHCAP_API_KEYS=",".join(KEYS)) as service:
        for key in KEYS:
            assert [post(service, **{"X-API-Key": key}).status_code for _ in range(3)] == [200, 200, 429]
        guesses = [post(service, **{"X-API-Key": f"guess-{number}"}).json()["code"] for number in range(3)]
        assert guesses == ["unauthorized", "unauthorized", "rate_limited"]
        assert service.get("/info").status_code == 429
        with socket(service) as client:
            client.send("auth", api_key="another-guess")
            assert client.problem()["code"] == "rate_limited"
        assert service.get("/health").status_code == 200
    assert not any(text in service.log for text in ("our-first-key", "guess-1"))


@pytest.mark.slow
def test_websocket_requests_are_counted_including_rejected_ones() -> None:
    with Service(GRAPHCAP_RATE_LIMIT="5/month") as service, socket(service) as client:
        for frame in ("{", '{"a": [' + "0," * 200_001 + "0]}", '{"type": "sing", "id": "z"}', '{"type": "caption"}'):
            client.raw(frame)
            assert client.next()["problem"]["status"] in (400, 422)
        client.send("caption", "a", **BODY)
        client.all_events("a", "alt_text")
        client.send("caption", "b", **BODY)
        problem = client.problem("b")
        assert (problem["code"], problem["retry_after"] > 0) == ("rate_limited", True)
        assert post(service).status_code == 429


ADDRESSES = {
    "203.0.113.9": "203.0.113.9",
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "::ffff:203.0.113.9": "203.0.113.9",
    "": "",
    "a-socket": "a-socket",
}


def test_an_ipv6_network_is_one_caller() -> None:
    assert {host: client_address({"client": (host, 1)}) for host in ADDRESSES} == ADDRESSES


async def test_the_tightest_limit_is_reported() -> None:
    assert await RateLimiter(Settings()).count("x") == {}
    limiter = RateLimiter(Settings(rate_limit="100/month; 3/day, 50 per 2 months"))
    states = [await limiter.count("x") for _ in range(3)]
    assert [state["RateLimit-Remaining"] for state in states] == ["2", "1", "0"]
    assert {state["RateLimit-Limit"] for state in states} == {"3"}
    with pytest.raises(RateLimitExceeded, match="3 requests per day"):
        await limiter.count("x")
    assert await limiter.count("y")


@contextmanager
def redis(path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a Redis server without persistence. Yield its URL and its process."""
    program = need("redis-server")
    address = path / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(address), "--save", "", "--appendonly", "no", "--dir", str(path)]
    with subprocess.Popen([program, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "eady to accept connections" in line:
                break
        try:
            yield f"redis+unix://{address}?db=0", process
        finally:
            process.kill()  # a stopped process receives no other signal
            process.communicate(timeout=GUARD)


@pytest.mark.slow
def test_instances_share_a_limit_in_redis(tmp_path: Path) -> None:
    with redis(tmp_path) as (address, _):
        settings = {"GRAPHCAP_RATE_LIMIT": "3/month", "GRAPHCAP_RATE_LIMIT_STORAGE": address}
        with Service(**settings) as first, Service("--workers", "2", **settings) as second:
            order = (first, second, second, first, second)
            assert [post(service).status_code for service in order] == [200] * 3 + [429] * 2
    assert address not in first.log + second.log


@pytest.mark.slow
def test_requests_are_accepted_uncounted_while_redis_fails_and_counted_afterwards(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with redis(tmp_path) as (address, process):
            settings = {"GRAPHCAP_RATE_LIMIT": "1000/month", "GRAPHCAP_RATE_LIMIT_STORAGE": address}
            service = stack.enter_context(Service(**settings))
            assert post(service).headers["ratelimit-remaining"] == "999"
            process.send_signal(signal.SIGSTOP)
            responses = [post(service) for _ in range(3)]
            process.send_signal(signal.SIGCONT)
        assert [(item.status_code, item.headers.get("ratelimit-limit")) for item in responses] == [(200, None)] * 3
        with redis(tmp_path):  # a new server without counts
            until(lambda: post(service).headers.get("ratelimit-remaining") == "999")
        service.wait_for_log("GRAPHCAP_RATE_LIMIT_STORAGE answers again")
    assert service.log.count("GRAPHCAP_RATE_LIMIT_STORAGE failed (TimeoutError)") == 1
    assert address not in service.log
    assert "Traceback" not in service.log
