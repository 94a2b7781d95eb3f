"""Send the untrusted schemas, prompts and answers of `schemas.toml` to a running service."""

import json
import tomllib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.schemas import expanded
from tests.api.streams import API, KEY, SAMPLE
from tests.contract.kinds import KIND_BY_NAME
from tests.guard import GUARD
from tests.servers import WireServer
from tests.servers import behaviours as b
from tests.service import ROOT, Service

pytestmark = pytest.mark.slow

ROWS: dict[str, dict[str, Any]] = {
    row["name"]: row for row in tomllib.loads((Path(__file__).parent / "schemas.toml").read_text("utf-8"))["row"]
}
CAPTION = '{"type": "object", "required": ["caption"], "properties": {"caption": {"type": "string"}}}'
STATUS = {"invalid_json": 400, "invalid_request": 422, "invalid_perspective": 422, "body_too_large": 413}
CONCURRENCY = 4
PIXEL = f"data:image/jpeg;base64,{b64encode((ROOT / 'tests/contract/photo.jpg').read_bytes()).decode()}"


@pytest.fixture(scope="module")
def checks(request: pytest.FixtureRequest, service: Service) -> Iterator[dict[str, Future[None]]]:
    """Check every selected row, several concurrently."""
    names = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    with ThreadPoolExecutor(CONCURRENCY) as threads:
        yield {name: threads.submit(check, service, row) for name, row in ROWS.items() if name in names}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_the_expected_outcome(name: str, checks: dict[str, Future[None]]) -> None:
    checks[name].result(4 * GUARD)


def check(service: Service, row: dict[str, Any]) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        perspective = expanded(row.get("perspective", "")) or inline(row)
        if row.get("error"):
            check_rejected(row, ask(service, server, perspective, row))
            assert not server.calls
        elif "prompt_sent" in row:
            assert ask(service, server, perspective, row).status_code == 200
            assert server.call.prompt.startswith(row["prompt_sent"] + "\n"), server.call.prompt
        elif "answer" in row:
            check_answer(service, server, perspective, row)
        else:
            check_enforced(service, server, perspective, row)
        if "schema" in row:
            check_chat_completions(service, server, row)


def inline(row: dict[str, Any]) -> str:
    schema, prompt = expanded(row.get("schema", CAPTION)), json.dumps(row.get("prompt", "Describe the image."))
    names = json.dumps([{"name": name} for name in row.get("variables", {}) if name.isalpha()])
    return f'{{"name": "mine", "prompt": {prompt}, "variables": {names}, "json_schema": {schema}}}'


def ask(service: Service, server: WireServer, perspective: str, row: dict[str, Any]) -> httpx.Response:
    """Send a body that is built as text, because some rows are not valid JSON."""
    rest = {
        "image": {"path": SAMPLE},
        "model": server.models[0],
        "provider_config": {"kind": "vllm", "base_url": server.url, "api_key": KEY},
        "variables": row.get("variables"),
    }
    return post(service, API + "/caption", f'{{"perspective": {perspective}, {json.dumps(rest)[1:]}')


def post(service: Service, path: str, body: str) -> httpx.Response:
    content, headers = body.encode("utf-8", "surrogatepass"), {"Content-Type": "application/json"}
    return service.request("POST", path, 4 * GUARD, content=content, headers=headers)


def check_rejected(row: dict[str, Any], answer: httpx.Response) -> None:
    problem = answer.json()
    assert (problem["code"], answer.status_code) == (row["error"], STATUS[row["error"]]), problem["detail"][:300]
    assert problem["detail"].endswith((".", ".)", "?"))
    assert len(answer.content) < 20_000, "the error must be short"
    if row["error"] == "invalid_perspective":
        pointers = [error["pointer"] for error in problem["errors"]]
        assert pointers
        assert row.get("pointer", pointers[0]) in pointers


def check_enforced(service: Service, server: WireServer, perspective: str, row: dict[str, Any]) -> None:
    server.default = b.Answer(expanded(row["invalid"]))
    problem = ask(service, server, perspective, row).json()
    assert problem.get("code") == "answer_invalid", problem
    server.default = b.Answer(expanded(row["valid"]))
    accepted = ask(service, server, perspective, row)
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["result"] == json.loads(row["valid"])


def check_answer(service: Service, server: WireServer, perspective: str, row: dict[str, Any]) -> None:
    server.default = b.Answer(expanded(row["answer"]))
    answer = ask(service, server, perspective, row)
    body = answer.json()
    if "result" in row:
        assert body.get("result") == json.loads(expanded(row["result"])), str(body)[:300]
        assert len(server.calls) == 1
    else:
        assert body.get("code") == row["answer_error"], body
        assert len(answer.content) < 20_000
        assert len(server.calls) <= 4


def check_chat_completions(service: Service, server: WireServer, row: dict[str, Any]) -> None:
    """Send the same schema as a response_format; the model is `builtin`."""
    schema = expanded(row["schema"])
    content = [{"type": "image_url", "image_url": {"url": PIXEL}}, {"type": "text", "text": "Describe it."}]
    messages = json.dumps([{"role": "user", "content": content}])
    shape = f'{{"type": "json_schema", "json_schema": {{"name": "mine", "schema": {schema}}}}}'
    answer = post(
        service, "/v1/chat/completions", f'{{"model": "@builtin", "messages": {messages}, "response_format": {shape}}}'
    )
    if row.get("error"):
        assert answer.status_code in (400, 413, 422), answer.text[:300]
        assert answer.json()["error"]["message"]
        assert len(answer.content) < 20_000
    else:
        assert answer.status_code in (200, 422, 502), answer.text[:300]
        assert answer.status_code == 200 or "internal_error" not in answer.text
