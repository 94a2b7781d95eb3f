"""The command line: standard output, standard error and exit codes."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.cli import COMMANDS
from perspectives.catalog import LIBRARY
from tests.conftest import Graphcap
from tests.contract.kinds import KIND_BY_NAME
from tests.guard import GUARD
from tests.servers.behaviours import Drip, Status, WrongSchema
from tests.service import ROOT, WORKSPACE, Service, clean_environment
from tests.tools import need

PHOTO = str(WORKSPACE / "datasets/samples/coffee.jpg")
KEY = "sk-configured-key-9876543"
SHIPPED = len([*LIBRARY.glob("*/*.json")])


def workspace(path: Path, providers: str) -> dict[str, str]:
    """Write a workspace with this `providers.toml` and return the setting that selects it."""
    (path / "config").mkdir()
    (path / "config/providers.toml").write_text(providers)
    return {"GRAPHCAP_WORKSPACE": str(path)}


def test_a_caption_is_printed_as_text_json_or_one_line(graphcap: Graphcap) -> None:
    result = graphcap("caption", PHOTO)
    assert (result.code, "short_caption: " in result.out) == (0, True)
    assert "builtin" in result.err
    caption = json.loads(graphcap("caption", PHOTO, "-p", "alt_text", "--json").out)
    assert caption["perspective"] == "alt_text"
    text = graphcap("caption", "-", "-p", "alt_text", "--text", stdin=Path(PHOTO).read_bytes())
    assert text.out == " ".join(caption["rendered"].split()) + "\n"


def test_a_perspective_in_a_file_with_a_variable(graphcap: Graphcap, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    fields = [{"name": "look", "type": "str", "description": "what it looks like"}]
    variables = [{"name": "what", "required": True}]
    file.write_text(json.dumps({"name": "own", "prompt": "{what}", "variables": variables, "schema_fields": fields}))
    assert "look: " in graphcap("caption", PHOTO, "-p", str(file), "--set", "what=the cup").out
    missing = graphcap("caption", PHOTO, "-p", str(file))
    assert (missing.code, "--set what=VALUE" in missing.err) == (2, True)


CLOSED = ("--kind", "vllm", "--base-url", "http://127.0.0.1:9", "--model", "m")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("captoin", PHOTO), 2, "Did you mean 'caption'?"),
        (("caption", PHOTO, "--perspctive", "alt_text"), 2, "Did you mean '--perspective'?"),
        (("caption", PHOTO, "--kind", "olama"), 2, "Did you mean 'ollama'?"),
        (("caption", PHOTO, "-o", str(ROOT)), 2, "(--output) cannot be written"),
        (("caption", "absent.jpg"), 1, "no file 'absent.jpg'"),
        (("caption", str(ROOT / "README.md")), 1, "The file is text, which is not accepted as an image."),
        (("caption", PHOTO, "-p", "alt_txt"), 2, "Did you mean 'alt_text'?"),
        (("caption", PHOTO, "-p", "alt_text", "--set", "langage=de"), 2, "Did you mean 'language'?"),
        (("caption", PHOTO, "--provider", "opnai"), 2, "Did you mean 'openai'?"),
        (("caption", PHOTO, "--provider", "vllm"), 2, "`graphcap providers models vllm`"),
        (("caption", PHOTO, *CLOSED), 4, "127.0.0.1:9"),
        (("perspectives", "show", "nothing_like_it"), 2, "nothing_like_it"),
        (("healthcheck", "--port", "9"), 1, "No service answers"),
        (("healthcheck", "--host", "a b"), 1, "No service answers"),
    ],
)
def test_exit_codes(graphcap: Graphcap, arguments: tuple[str, ...], code: int, sentence: str) -> None:
    result = graphcap(*arguments)
    assert (result.code, result.out) == (code, "")
    assert sentence in result.err


def test_limits_name_the_size_and_the_setting(graphcap: Graphcap, tmp_path: Path) -> None:
    large = graphcap("caption", PHOTO, GRAPHCAP_MAX_IMAGE_BYTES="1000")
    assert (large.code, "GRAPHCAP_MAX_IMAGE_BYTES" in large.err) == (1, True)
    wide = graphcap("caption", PHOTO, GRAPHCAP_MAX_IMAGE_PIXELS="1000")
    assert (wide.code, "600×400" in wide.err, "GRAPHCAP_MAX_IMAGE_PIXELS" in wide.err) == (1, True, True)
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    heic = graphcap("caption", str(tmp_path / "photo.heic"))
    assert (heic.code, "GRAPHCAP_HEIF=true" in heic.err) == (1, True)


def test_errors_for_models_and_keys_contain_a_remedy(graphcap: Graphcap) -> None:
    with KIND_BY_NAME["ollama"].server() as server:
        command = ("caption", PHOTO, "--kind", "ollama", "--base-url", server.url, "--model")
        unknown = graphcap(*command, "qwen2.5vl:7b")
        assert (unknown.code, "Run `ollama pull qwen2.5vl:7b`." in unknown.err) == (4, True)
        assert f"The server lists: {', '.join(server.models)}." in unknown.err
    with KIND_BY_NAME["openai"].server(key=KEY) as server:
        address = {"OPENAI_BASE_URL": server.url}
        command = ("caption", PHOTO, "--provider", "openai", "--model", server.models[0])
        for key, sentence in (("", "requires an API key and got none"), ("sk-wrong-key-9876543", "rejected the API")):
            result = graphcap(*command, OPENAI_API_KEY=key, **address)
            assert (result.code, sentence in result.err, "OPENAI_API_KEY" in result.err) == (4, True, True)


def test_several_perspectives_give_several_captions(graphcap: Graphcap, tmp_path: Path) -> None:
    both = ("caption", PHOTO, "-p", "alt_text", "-p", "training_tags")
    text = graphcap(*both)
    assert (text.code, text.out.startswith("alt_text:\n  "), "\ntraining_tags:\n  " in text.out) == (0, True, True)
    assert graphcap(*both, "--json", "-o", str(tmp_path / "captions.json")) == (0, "", text.err)
    assert list(json.loads((tmp_path / "captions.json").read_text())) == ["alt_text", "training_tags"]
    assert graphcap(*both, "--text").out.count("\n") == 2
    failed = graphcap(*both, "--provider", "vllm", "--model", "m", VLLM_BASE_URL="http://127.0.0.1:9")
    assert (failed.code, failed.out, "Perspective: training_tags" in failed.err) == (4, "", True)
    absent = graphcap("caption", "http://127.0.0.1:9/a.jpg", "-p", "alt_text", "-p", "training_tags")
    assert (absent.code, absent.err.count("graphcap: "), "alt_text, training_tags" in absent.err) == (1, 1, True)


def test_an_invalid_answer_is_shown_with_json_and_verbose(graphcap: Graphcap) -> None:
    with KIND_BY_NAME["vllm"].server() as server:
        server.reply(*[WrongSchema()] * 8)
        command = ("caption", PHOTO, "-p", "alt_text", "--kind", "vllm", "--base-url", server.url)
        command += ("--model", server.models[0], "--max-output-retries", "0")
        problem = json.loads(graphcap(*command, "--json").err)
        assert problem["attempts"][0]["outcome"] == "invalid_answer"
        assert "unexpected" in problem["attempts"][0]["raw_text"]
        verbose = graphcap(*command, "--verbose").err
        assert f"model: {server.models[0]} of vllm (vllm at {server.url})" in verbose
        assert "invalid_answer" in verbose
        assert 'the model wrote: {"unexpected": true}' in verbose


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_and_colour_are_shown_only_on_a_terminal(graphcap: Graphcap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    with KIND_BY_NAME["vllm"].server() as server:
        command = ("caption", PHOTO, "-p", "alt_text", "--kind", "vllm", "--base-url", server.url, "--stream")
        command += ("--model", server.models[0])
        assert graphcap(*command).err == ""
        for no_color in ("", "1"):
            terminal = Terminal()
            monkeypatch.setattr(sys, "stderr", terminal)
            result = graphcap(*command, "--set", "langage=de", NO_COLOR=no_color)
            assert ("\x1b[31m" in terminal.getvalue()) is (not no_color)
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        server.reply(Drip(size=40))
        result = graphcap(*command)
    assert (result.code, "alt_text: " in result.out) == (0, True)
    assert f"waiting for {server.models[0]}" in terminal.getvalue()
    assert "attempt 1" in terminal.getvalue()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(graphcap: Graphcap, shell: str) -> None:
    script = graphcap("completion", shell).out
    assert all(name in script for name in (*COMMANDS, "perspective", "workspace"))
    if shell != "bash":
        return
    lines = {"graphcap cap": "caption", "graphcap perspectives s": "show", "graphcap caption x --kind gem": "gemini"}
    for line, expected in lines.items():
        call = f'COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _graphcap; echo "${{COMPREPLY[@]}}"'
        done = subprocess.run([need("bash"), "-c", f"{script}\n{call}"], capture_output=True, text=True, check=True)
        assert done.stdout.split() == [expected]


def test_a_key_of_a_kind_is_used_only_at_its_own_origin(graphcap: Graphcap) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        command = ("caption", PHOTO, "-p", "alt_text", "--kind", "vllm", "--base-url", server.url, "--model")
        model = server.models[0]
        own = graphcap(*command, model, VLLM_API_KEY=KEY, VLLM_BASE_URL=f"{server.url}/v1")
        assert (own.code, own.err) == (0, "")
        foreign = graphcap(*command, model, VLLM_API_KEY=KEY, VLLM_BASE_URL="http://127.0.0.1:9")
        assert foreign.code == 4
        assert "The API key for --base-url is read from GRAPHCAP_PROVIDER_KEY. VLLM_API_KEY is used only" in foreign.err
        assert graphcap(*command, model, VLLM_API_KEY="sk-wrong-key-9876543", GRAPHCAP_PROVIDER_KEY=KEY).code == 0


def test_perspectives_are_listed_shown_and_checked(graphcap: Graphcap, tmp_path: Path) -> None:
    listed = graphcap("perspectives", "list", **workspace(tmp_path, '[providers.a]\nkind = "acme"\n')).out
    assert "vision\n  text_in_image " in listed
    assert "(custom_instructions)\n" in listed
    shown = json.loads(graphcap("perspectives", "show", "alt_text").out)
    assert shown["schema"]["schema_fields"]
    assert graphcap("perspectives", "check") == (0, "", f"files checked: {SHIPPED}, mistakes: 0, warnings: 0\n")
    empty = graphcap("perspectives", "check", str(tmp_path / "config"))
    assert (empty.code, "no file ends in .json" in empty.err) == (1, True)
    (tmp_path / "copy.json").write_text(json.dumps({**shown, "name": "copy"}))
    assert graphcap("perspectives", "check", str(tmp_path / "copy.json")).out == ""
    assert json.loads(graphcap("perspectives", "show", str(tmp_path / "copy.json")).out)["name"] == "copy"
    (tmp_path / "mine.json").write_text(json.dumps({**shown, "deprecated": True, "replacement": "other"}))
    listed = graphcap("perspectives", "list", GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)).out
    assert "[replaces an earlier one; deprecated, use other]" in listed


def test_a_broken_perspective_is_reported_with_file_and_pointer(graphcap: Graphcap, tmp_path: Path) -> None:
    good = {"name": "good", "prompt": "p", "schema_fields": [{"name": "a", "type": "str", "description": "d"}]}
    (tmp_path / "good.json").write_text(json.dumps(good))
    (tmp_path / "broken.json").write_text('{"name": "broken", "prompt": "p", "schema_fields": [{"type": "str"}]}')
    (tmp_path / "nojson.json").write_text('{"name": ')
    directory = {"GRAPHCAP_PERSPECTIVES_DIR": str(tmp_path)}
    result = graphcap("perspectives", "check", **directory)
    assert result.code == 1
    assert "broken.json at /schema_fields/0" in result.out
    assert "nojson.json" in result.out
    assert result.err.startswith(f"files checked: {SHIPPED + 3}, mistakes: ")
    assert "warnings: 0" in result.err
    shown = graphcap("perspectives", "show", "nojson", **directory)
    assert (shown.code, str(tmp_path) in shown.err, "graphcap perspectives check" in shown.err) == (2, False, True)
    assert "good" in graphcap("perspectives", "list", **directory).out
    assert graphcap("perspectives", "check", str(tmp_path / "good.json")).code == 0


def test_providers_are_listed_and_checked(graphcap: Graphcap, tmp_path: Path) -> None:
    with KIND_BY_NAME["vllm"].server(key=KEY) as server:
        down = '{ base_url = "http://127.0.0.1:9/v1", name = "down" }'
        environment = workspace(
            tmp_path,
            f'[providers.studio]\nkind = "vllm"\nbase_url = "{server.url}"\napi_key_env = "STUDIO_KEY"\n'
            f'[providers.pair]\nkind = "vllm"\napi_key = "{KEY}"\n'
            f'endpoints = [{{ base_url = "{server.url}", name = "up" }}, {down}]\n',
        )
        environment["STUDIO_KEY"] = KEY
        _, listed, warning = graphcap("providers", "list", GRAPHCAP_PROVDER="x", **environment)
        assert "GRAPHCAP_PROVDER is not a setting and has no effect. Did you mean 'GRAPHCAP_PROVIDER'?" in warning
        assert all(text in listed for text in ("studio", server.url, "http://127.0.0.1:9/v1"))
        assert KEY not in listed
        assert graphcap("providers", "models", "studio", **environment).out.split() == list(server.models)
        checked = graphcap("providers", "check", "studio", "--model", server.models[0], **environment)
        assert (checked.code, "ok      model answered: " in checked.out) == (0, True)
        assert "add --model" in graphcap("providers", "check", "studio", **environment).out
        assert graphcap("providers", "check", "studio", "--model", "no-such", **environment).code == 4
        for setting, shown in (("show", True), ("log", False)):
            server.reply(*[Status(507, message="CUDA out of memory")] * 4)
            environment["GRAPHCAP_PROVIDER_MESSAGES"] = setting
            failed = graphcap("providers", "check", "studio", "--model", server.models[0], **environment)
            assert (failed.code, 'message: "CUDA out of memory"' in failed.out) == (4, shown)
            server.script.clear()
        pair = graphcap("providers", "check", "pair", "--json", **environment)
        ends = {item["name"]: item["steps"][-1]["status"] for item in json.loads(pair.out)["endpoints"]}
        assert (pair.code, ends) == (4, {"up": "success", "down": "failed"})


@pytest.mark.slow
def test_an_interrupt_ends_the_wait_for_an_image() -> None:
    command = [sys.executable, "-m", "bridge.cli", "caption", "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=ROOT, env=clean_environment(), **pipes) as process:
        assert process.stdin is not None
        process.stdin.write(b"\xff" * 100_000)  # more than a pipe holds: the command reads
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(GUARD) == 130
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_a_running_service(graphcap: Graphcap, tmp_path: Path) -> None:
    """Check its health, its report of a broken perspective, and the error of a second service on the port."""
    (tmp_path / "broken.json").write_text('{"name": "broken", "prompt": "p", "schema_fields": [{"type": "str"}]}')
    with Service(GRAPHCAP_PERSPECTIVES_DIR=str(tmp_path)) as service:
        problems = service.get("/info").json()["problems"]
        assert [item["pointer"] for item in problems] == ["/schema_fields/0/name"]
        assert ("broken.json" in service.log, str(tmp_path) in str(problems)) == (True, False)
        port = str(service.port)
        assert graphcap("healthcheck", "--port", port) == (0, "healthy\n", "")
        second = graphcap("serve", "--port", port)
    assert (second.code, second.err.count("\n"), f"Port {port} is in use" in second.err) == (2, 1, True)


def test_the_health_check_reads_the_settings_of_the_service(
    graphcap: Graphcap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("GRAPHCAP_HOST=::\nGRAPHCAP_PORT=9\n")
    assert "No service answers at ::1:9" in graphcap("healthcheck").err
    assert "No service answers at 127.0.0.1:9" in graphcap("healthcheck", GRAPHCAP_HOST="0.0.0.0").err


HELP = "from bridge.cli import COMMANDS, build; [build(name) for name in (None, *COMMANDS) if name != 'serve']"
HEAVY = {"openai", "anthropic", "instructor", "google.genai", "ollama", "rich"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        (HELP, HEAVY | {"pydantic", "fastapi", "PIL", "httpx"}),
        ("import bridge.app", HEAVY),
        ("from providers import registry; registry.specs()", HEAVY | {"PIL", "httpx", "httpx2"}),
    ],
    ids=["--help", "serve", "specs"],
)
def test_commands_import_only_required_packages(code: str, heavy: set[str]) -> None:
    script = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    modules = subprocess.run(script, check=True, cwd=ROOT, capture_output=True, text=True).stdout.split()
    assert heavy & set(modules) == set()
