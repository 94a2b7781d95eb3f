"""The command line as a script sees it: results on standard output, the rest on standard error, exit codes."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bridge.cli.text import readable
from tests import written
from tests.contract.kinds import OF_KIND
from tests.service import ROOT, WORKSPACE, Service, clean_environment

PHOTO = str(WORKSPACE / "datasets/samples/coffee.jpg")
KEY = "sk-configured-key-9876543"


def graphcap(
    *arguments: str, stdin: bytes = b"", cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "bridge.cli", *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        env={**clean_environment(), **environment},
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr
    written.keep((done.stdout + done.stderr).decode(errors="replace"))
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_caption_is_readable() -> None:
    done = graphcap("caption", PHOTO)
    assert done.returncode == 0
    assert "short_caption: " in done.stdout
    assert "recognises nothing" in done.stderr
    assert "recognises nothing" not in done.stdout


def test_what_is_nested_is_readable_and_what_is_empty_says_so() -> None:
    box = {"id": "o1", "box": {"x": 0.5, "y": 1}, "attributes": ["red", "round"], "hidden": False}
    made = {
        "a_text": "",
        "empty": [],
        "flags": {"on": True, "none": None},
        "items": ["one"],
        "objects": [box, {"n": 0}],
    }
    assert readable(made).splitlines() == [
        "a_text: (none)",
        "empty: (none)",
        "flags:",
        "  on: true",
        "  none: (none)",
        "items:",
        "  - one",
        "objects:",
        "  - id: o1",
        "    box: x: 0.5, y: 1",
        "    attributes: red, round",
        "    hidden: false",
        "  - n: 0",
    ]


def test_json_text_and_standard_input() -> None:
    made = json.loads(graphcap("caption", PHOTO, "-p", "alt_text", "--json").stdout)
    assert made["perspective"] == "alt_text"
    text = graphcap("caption", "-", "-p", "alt_text", "--text", stdin=Path(PHOTO).read_bytes())
    assert text.stdout == " ".join(made["rendered"].split()) + "\n"


def test_a_perspective_in_a_file_with_a_variable(tmp_path: Path) -> None:
    fields = [{"name": "look", "type": "str", "description": "what it looks like"}]
    file = tmp_path / "own.json"
    file.write_text(
        json.dumps(
            {
                "name": "own",
                "prompt": "{what}",
                "variables": [{"name": "what", "required": True}],
                "schema_fields": fields,
            }
        )
    )
    assert "look: " in graphcap("caption", PHOTO, "-p", str(file), "--set", "what=the cup").stdout
    missing = graphcap("caption", PHOTO, "-p", str(file))
    assert missing.returncode == 2
    assert "--set what=VALUE" in missing.stderr
    unknown = graphcap("caption", PHOTO, "-p", str(file), "--set", "what=x", "--set", "who=y")
    assert (unknown.returncode, "who" in unknown.stderr) == (2, True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ((), 2, "usage"),
        (("caption",), 2, "usage"),
        (("caption", "absent.jpg"), 1, "no file 'absent.jpg'"),
        (("caption", str(ROOT / "README.md")), 1, "image"),
        (("caption", PHOTO, "-p", "alt_txt"), 2, "Did you mean 'alt_text'?"),
        (("caption", PHOTO, "-p", "absent.json"), 2, "absent.json: Is not a file"),
        (("caption", PHOTO, "-p", "tests/clients/openai_js/package.json"), 2, "/prompt"),
        (("caption", PHOTO, "--provider", "opnai"), 2, "Did you mean openai?"),
        (("caption", PHOTO, "--kind", "acme", "--base-url", "http://127.0.0.1:9"), 2, "'openai', 'vllm'"),
        (("caption", PHOTO, "--temperature", "9"), 2, "temperature"),
        (("caption", PHOTO, "--set", "novalue"), 2, "NAME=VALUE"),
        (("caption", PHOTO, "--provider", "vllm"), 2, "`graphcap providers models vllm`"),
        (
            ("caption", PHOTO, "--kind", "vllm", "--base-url", "http://127.0.0.1:9", "--model", "m"),
            4,
            "Could not connect",
        ),
        (("perspectives", "show", "nothing_like_it"), 2, "nothing_like_it"),
        (("providers", "check", "nobody"), 2, "Configured are builtin, openai"),
        (("healthcheck", "--port", "9"), 1, "no service answers"),
        (("healthcheck", "--port", "abc"), 2, "'abc' is no port"),
    ],
)
def test_exit_codes_and_sentences(arguments: tuple[str, ...], code: int, hint: str) -> None:
    done = graphcap(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert hint in done.stderr


def test_wrong_settings_are_all_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text(
        '[providers.a]\nkind = "acme"\n[providers.b]\nkind = "vllm"\ncolour = 1\n'
    )
    done = graphcap("serve", "--port", "99999", "--timeout", "soon")
    assert done.returncode == 2
    assert "GRAPHCAP_PORT" in done.stderr
    assert "GRAPHCAP_TIMEOUT" in done.stderr
    absent = graphcap("perspectives", "list", GRAPHCAP_WORKSPACE=str(tmp_path / "absent"))
    assert (absent.returncode, "GRAPHCAP_WORKSPACE: there is no directory" in absent.stderr) == (2, True)
    done = graphcap(
        *("serve", "--workspace", str(tmp_path), "--timeout", "soon"),
        GRAPHCAP_IMAGE_URL_ALLOW="10.0.0.0/99,10.1.0.0/99",
        GRAPHCAP_API_KEYS_FILE=str(tmp_path / "absent"),
    )
    assert done.returncode == 2
    for told in ("colour", "GRAPHCAP_TIMEOUT", "10.0.0.0/99", "10.1.0.0/99", "GRAPHCAP_API_KEYS_FILE"):
        assert told in done.stderr
    assert "'nobody' is not one of" in graphcap("serve", "--workspace", str(tmp_path), "--provider", "nobody").stderr


def test_what_the_environment_may_not_have_meant_is_told() -> None:
    done = graphcap(
        "providers", "list", GRAPHCAP_PROVDER="x", GRAPHCAP_PROVIDER_KEY="x", GEMINI_API_KEY="a", GOOGLE_API_KEY="b"
    )
    assert (done.returncode, done.stderr.splitlines()) == (
        0,
        [
            "graphcap: GRAPHCAP_PROVDER is not a setting; did you mean GRAPHCAP_PROVIDER?",
            "graphcap: GEMINI_API_KEY and GOOGLE_API_KEY are both set and differ; GEMINI_API_KEY is used.",
        ],
    )


def test_a_port_in_use_is_told_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = graphcap("serve", "--port", str(port))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"Port {port} is in use. Choose another with --port or GRAPHCAP_PORT." in done.stderr


@pytest.mark.slow
def test_several_workers_tell_one_address_and_end_well() -> None:
    with Service("--workers", "2") as service:
        assert httpx.get(f"{service.url}/livez", timeout=30).status_code == 200
    assert service.code == 0
    with Service("--workers", "2") as told_to_stop_at_once:
        pass
    assert told_to_stop_at_once.code == 0
    assert service.log.count("serves http://") == 1


def test_perspectives(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/providers.toml").write_text('[providers.a]\nkind = "acme"\n')
    listed = graphcap("perspectives", "list", GRAPHCAP_WORKSPACE=str(tmp_path)).stdout
    assert "vision\n  text_in_image " in listed
    assert "(custom_instructions)\n" in listed
    shown = json.loads(graphcap("perspectives", "show", "alt_text").stdout)
    assert shown["schema"]["schema_fields"]
    checked = graphcap("perspectives", "check")
    assert (checked.returncode, checked.stderr) == (0, "25 files checked: nothing to mend\n")


def test_an_own_perspective_is_marked_when_it_replaces_a_shipped_one(tmp_path: Path) -> None:
    shipped = json.loads((ROOT / "perspectives/library/publishing/alt_text.json").read_text("utf-8"))
    (tmp_path / "mine.json").write_text(json.dumps({**shipped, "deprecated": True, "replacement": "other"}))
    listed = graphcap("perspectives", "list", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)).stdout
    line = next(one for one in listed.splitlines() if one.startswith("  alt_text "))
    assert "[replaces an earlier one; deprecated, use other]" in line


def test_a_broken_perspective_is_reported_with_file_and_pointer(tmp_path: Path) -> None:
    good = {"name": "good", "prompt": "p", "schema_fields": [{"name": "a", "type": "str", "description": "d"}]}
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "broken.json").write_text('{"name": "broken", "prompt": "p", "schema_fields": [{"type": "str"}]}')
    (tmp_path / "nojson.json").write_text('{"name": ')
    done = graphcap("perspectives", "check", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "broken.json at /schema_fields/0" in done.stdout
    assert "nojson.json" in done.stdout
    assert done.stderr.startswith("28 files checked: ")
    assert "mistakes in 2 files" in done.stderr
    shown = graphcap("perspectives", "show", "nojson", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path))
    assert (shown.returncode, str(tmp_path) in shown.stderr) == (2, False)
    assert "/nojson.json has mistakes, which `graphcap perspectives check` lists." in shown.stderr
    assert "good" in graphcap("perspectives", "list", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)).stdout
    with Service(GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)) as service:
        assert "broken.json" in service.log
        told = httpx.get(service.url + "/info", trust_env=False).json()["problems"]
        broken = [one for one in told if one["file"].endswith("/broken.json")]
        assert [one["pointer"] for one in broken] == ["/schema_fields/0/name"]
        assert str(tmp_path) not in str(told)
    assert graphcap("perspectives", "check", str(tmp_path / "good.json")).returncode == 0


def test_providers(tmp_path: Path) -> None:
    kind = OF_KIND["vllm"]
    with kind.server(key=KEY) as server:
        (tmp_path / "config").mkdir()
        (tmp_path / "config/providers.toml").write_text(
            f'[providers.studio]\nkind = "vllm"\nbase_url = "{server.url}"\napi_key_env = "STUDIO_KEY"\n'
        )
        environment = {"GRAPHCAP_WORKSPACE": str(tmp_path), "STUDIO_KEY": KEY}
        listed = graphcap("providers", "list", **environment)
        assert "studio" in listed.stdout
        assert KEY not in listed.stdout
        assert graphcap("providers", "models", "studio", **environment).stdout.split() == list(server.models)
        checked = graphcap("providers", "check", "studio", "--model", server.models[0], **environment)
        assert checked.returncode == 0
        assert "ok      model answered: " in checked.stdout
        assert "not tried; add --model" in graphcap("providers", "check", "studio", **environment).stdout
        assert graphcap("providers", "check", "studio", "--model", "no-such", **environment).returncode == 4


def test_every_endpoint_is_listed_and_checked(tmp_path: Path) -> None:
    kind = OF_KIND["vllm"]
    with kind.server(key="") as server:
        (tmp_path / "config").mkdir()
        (tmp_path / "config/providers.toml").write_text(
            '[providers.pair]\nkind = "vllm"\nendpoints = ['
            f'{{ base_url = "{server.url}", name = "up" }}, {{ base_url = "http://127.0.0.1:9/v1", name = "down" }}]\n'
        )
        environment = {"GRAPHCAP_WORKSPACE": str(tmp_path)}
        listed = graphcap("providers", "list", **environment).stdout
        assert server.url in listed
        assert "http://127.0.0.1:9/v1" in listed
        checked = graphcap("providers", "check", "pair", "--json", **environment)
        assert checked.returncode == 4
        ends = {one["name"]: one["steps"][-1]["status"] for one in json.loads(checked.stdout)["endpoints"]}
        assert ends == {"up": "success", "down": "failed"}


def test_healthcheck_asks_the_running_service() -> None:
    with Service() as service:
        done = graphcap("healthcheck", "--port", service.url.rsplit(":", 1)[1])
        assert (done.returncode, done.stdout) == (0, "healthy\n")
        assert httpx.get(service.url).headers["location"] == "/docs"


def test_help_needs_nothing_heavy() -> None:
    heavy = {"pydantic", "fastapi", "openai", "instructor", "PIL", "httpx", "google.genai", "ollama"}
    for command in (None, "caption", "providers", "perspectives", "healthcheck"):
        assert imported(f"from bridge.cli import build; build({command!r})") & heavy == set(), command


def test_the_service_imports_no_sdk_before_it_is_used() -> None:
    assert imported("import bridge.app") & {"openai", "instructor", "google.genai", "ollama"} == set()


def imported(code: str) -> set[str]:
    """The modules that a new interpreter has imported after `code`."""
    script = f"import sys; {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, capture_output=True, text=True)
    return set(done.stdout.split())
