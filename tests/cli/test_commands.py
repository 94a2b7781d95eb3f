"""The command line as a script sees it: results on standard output, the rest on standard error, exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def test_a_caption_is_readable() -> None:
    done = graphcap("caption", PHOTO)
    assert done.returncode == 0
    assert "short caption: " in done.stdout
    assert "recognises nothing" in done.stderr
    assert "recognises nothing" not in done.stdout


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
    assert missing.returncode == 1
    assert "what" in missing.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        ((), 2, "usage"),
        (("caption",), 2, "usage"),
        (("caption", "absent.jpg"), 1, "no file 'absent.jpg'"),
        (("caption", PHOTO, "-p", "alt_txt"), 1, "alt_text"),
        (("caption", PHOTO, "-p", "absent.json"), 2, "absent.json"),
        (("caption", PHOTO, "--temperature", "9"), 2, "temperature"),
        (("caption", PHOTO, "--set", "novalue"), 2, "NAME=VALUE"),
        (("caption", PHOTO, "--provider", "vllm"), 2, "Name a model"),
        (
            ("caption", PHOTO, "--kind", "vllm", "--base-url", "http://127.0.0.1:9", "--model", "m"),
            4,
            "Could not connect",
        ),
        (("perspectives", "show", "nothing_like_it"), 1, "nothing_like_it"),
        (("providers", "check", "nobody"), 1, "nobody"),
        (("healthcheck", "--port", "9"), 1, "no service answers"),
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
    done = graphcap("serve", "--workspace", str(tmp_path))
    assert done.returncode == 2
    assert "colour" in done.stderr


def test_perspectives() -> None:
    listed = graphcap("perspectives", "list").stdout
    assert "scene_graph" in listed
    shown = json.loads(graphcap("perspectives", "show", "alt_text").stdout)
    assert shown["schema"]["schema_fields"]
    assert graphcap("perspectives", "check").returncode == 0


def test_a_broken_perspective_is_reported_with_file_and_pointer(tmp_path: Path) -> None:
    good = {"name": "good", "prompt": "p", "schema_fields": [{"name": "a", "type": "str", "description": "d"}]}
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "broken.json").write_text('{"name": "broken", "prompt": "p", "schema_fields": [{"type": "str"}]}')
    (tmp_path / "nojson.json").write_text('{"name": ')
    done = graphcap("perspectives", "check", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "broken.json at /schema_fields/0" in done.stdout
    assert "nojson.json" in done.stdout
    assert "good" in graphcap("perspectives", "list", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)).stdout
    with Service(GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)) as service:
        assert "broken.json" in service.log
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
        assert "test_chat_completion: success" in checked.stdout
        assert graphcap("providers", "check", "studio", "--model", "no-such", **environment).returncode == 4


def test_healthcheck_asks_the_running_service() -> None:
    with Service() as service:
        done = graphcap("healthcheck", "--port", service.url.rsplit(":", 1)[1])
        assert (done.returncode, done.stdout) == (0, "healthy\n")


def test_help_needs_nothing_heavy() -> None:
    code = "import sys; from bridge.cli import build; build(None); heavy = {'pydantic', 'fastapi', 'openai', 'instructor', 'PIL', 'httpx', 'google.genai', 'ollama'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_the_service_imports_no_sdk_before_it_is_used() -> None:
    code = "import sys; import bridge.app; heavy = {'openai', 'instructor', 'google.genai', 'ollama'} & set(sys.modules); sys.exit(str(heavy) if heavy else 0)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
