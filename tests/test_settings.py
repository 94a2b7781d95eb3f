"""The settings of a process: where they are read from, what follows from them, and every mistake at once."""

from pathlib import Path
from typing import get_args

import pytest

from bridge.settings import MIB, OTHERS, Settings, SettingsError, description, environment, load, unknown

SECRET = "a-secret-that-nobody-may-read"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory: `.env` is read from there."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistakes(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load()
    assert SECRET not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    return list(raised.value.mistakes)


# Where they come from.


def test_nothing_needs_to_be_set() -> None:
    found = load()
    assert (found.host, found.port, found.provider, found.workspace) == (
        "127.0.0.1",
        32100,
        "builtin",
        Path("workspace"),
    )
    assert (found.timeout, found.workers, found.log) == (120, 1, "text")


def test_an_option_wins_over_the_environment_over_the_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / ".env").write_text("GRAPHCAP_PORT=1001\nGRAPHCAP_TIMEOUT=11\nGRAPHCAP_GRACE=1\n")
    monkeypatch.setenv("GRAPHCAP_TIMEOUT", "12")
    monkeypatch.setenv("GRAPHCAP_GRACE", "2")
    found = load(grace="3", host=None)
    assert (found.port, found.timeout, found.grace, found.host) == (1001, 12, 3, "127.0.0.1")


def test_a_blank_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHCAP_PORT", "")
    monkeypatch.setenv("GRAPHCAP_CORS_ORIGINS", "")
    assert (load().port, load().cors_origins) == (32100, ())


def test_the_file_also_supplies_the_providers_own_names(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / ".env").write_text("OPENAI_API_KEY=from-file\nOLLAMA_HOST=from-file\nUNSET\n")
    monkeypatch.setenv("OLLAMA_HOST", "from-environment")
    found = environment()
    assert (found["OPENAI_API_KEY"], found["OLLAMA_HOST"]) == ("from-file", "from-environment")
    assert "UNSET" not in found


def test_workers_by_convention_or_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert load().workers == 4
    monkeypatch.setenv("GRAPHCAP_WORKERS", "2")
    assert load().workers == 2


@pytest.mark.parametrize("written", ['["http://a", "http://b"]', "http://a,http://b", " http://a , http://b, "])
def test_lists_are_json_or_commas(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("GRAPHCAP_CORS_ORIGINS", written)
    assert load().cors_origins == ("http://a", "http://b")
    monkeypatch.setenv("GRAPHCAP_PERSPECTIVES_DIR", written)
    assert load().perspectives_dir == (Path("http:/a"), Path("http:/b"))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError):
        load().port = 1  # type: ignore[misc]


# What follows from them.


@pytest.mark.parametrize(
    ("host", "policy"),
    [
        ("127.0.0.1", "any"),
        ("127.8.8.8", "any"),
        ("::1", "any"),
        ("[::1]", "any"),
        ("localhost", "any"),
        ("0.0.0.0", "listed"),
        ("::", "listed"),
        ("192.168.1.5", "listed"),
        ("example.org", "listed"),
    ],
)
def test_requests_may_bring_any_address_only_where_only_this_machine_can_call(host: str, policy: str) -> None:
    assert load(host=host).base_url_policy == policy
    for stated in ("any", "listed", "none"):
        assert load(host=host, request_providers=stated).base_url_policy == stated


def test_a_body_holds_an_image_in_base64() -> None:
    assert load().body_limit == 20 * MIB * 4 // 3 + MIB
    assert load(max_image_bytes="3000000").body_limit == 4_000_000 + MIB
    assert load(max_image_bytes="3000000", max_body_bytes="500").body_limit == 500


# What is wrong.


def test_every_mistake_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = mistakes(
        monkeypatch,
        GRAPHCAP_PORT="99999",
        GRAPHCAP_TIMEOUT="soon",
        GRAPHCAP_LOG="xml",
        GRAPHCAP_REQUEST_PROVIDERS="all",
        GRAPHCAP_MAX_IMAGE_BYTES="-1",
        GRAPHCAP_CORS_ORIGINS='["http://a"',
        GRAPHCAP_IMAGE_URL_ALLOW="[1]",
        GRAPHCAP_IMAGE_URL_PORTS="80,99999",
        WEB_CONCURRENCY="many",
    )
    assert sorted(one.split(":")[0] for one in told) == [
        "GRAPHCAP_CORS_ORIGINS",
        "GRAPHCAP_IMAGE_URL_ALLOW",
        "GRAPHCAP_IMAGE_URL_PORTS",
        "GRAPHCAP_LOG",
        "GRAPHCAP_MAX_IMAGE_BYTES",
        "GRAPHCAP_PORT",
        "GRAPHCAP_REQUEST_PROVIDERS",
        "GRAPHCAP_TIMEOUT",
        "GRAPHCAP_WORKERS",
    ]
    assert all(one.endswith(".") for one in told)
    assert "GRAPHCAP_LOG: Input should be 'text' or 'json'." in told


@pytest.mark.parametrize("name", [name for name in Settings.model_fields if name not in ("workspace", "host")])
def test_no_mistake_repeats_a_value(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Whatever the variable: people paste a key into the wrong line."""
    for value in (SECRET, f'["{SECRET}', f'[{{"{SECRET}": 1}}]'):
        monkeypatch.setenv(f"GRAPHCAP_{name.upper()}", value)
        try:
            load()
        except SettingsError as error:
            assert SECRET not in f"{error!s}{error!r}"  # noqa: PT017 (most take any text)


def test_a_workspace_that_is_named_exists(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mistakes(monkeypatch, GRAPHCAP_WORKSPACE="absent") == ["GRAPHCAP_WORKSPACE: there is no directory 'absent'."]
    (directory / "absent").mkdir()
    assert load().workspace == Path("absent")


def test_a_name_that_is_no_setting_is_told_with_a_near_one() -> None:
    names = ["GRAPHCAP_PROVDER", "GRAPHCAP_PORT", "GRAPHCAP_API_KEYS_FILE", "GRAPHCAP_BRIDGE_SERVICE_HOST", *OTHERS]
    assert [*unknown(dict.fromkeys([*names, "HOME"], ""))] == [
        "GRAPHCAP_BRIDGE_SERVICE_HOST is not a setting.",
        "GRAPHCAP_PROVDER is not a setting; did you mean GRAPHCAP_PROVIDER?",
    ]


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_value_of_few_is_told(name: str) -> None:
    values = [one for one in get_args(Settings.model_fields[name].annotation) if isinstance(one, str)]
    assert [one for one in values if f"`{one}`" not in description(name)] == []


def test_a_file_that_is_no_text(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / ".env").write_text("GRAPHCAP_PORT=1001\n", encoding="utf-16")
    assert mistakes(monkeypatch) == [".env: is not UTF-8 text."]


@pytest.mark.parametrize("storage", [f"redis://:{SECRET[:9]}/{SECRET}@127.0.0.1:6379/0", "memory", "ftp://x", "x"])
def test_a_storage_that_is_no_address_is_told_without_its_password(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (told,) = mistakes(monkeypatch, GRAPHCAP_RATE_LIMIT_STORAGE=storage)
    assert told.startswith("GRAPHCAP_RATE_LIMIT_STORAGE: write memory:// or redis://")
    assert SECRET[:9] not in told


@pytest.mark.parametrize("keys", [",", " , ", "[]"])
def test_keys_that_are_none_do_not_open_the_service(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A template like ${A},${B} whose variables are unset."""
    (told,) = mistakes(monkeypatch, GRAPHCAP_API_KEYS=keys)
    assert "holds nothing" in told


def test_an_empty_file_of_keys_does_not_open_the_service(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "keys").write_text("\n")
    (told,) = mistakes(monkeypatch, GRAPHCAP_API_KEYS_FILE=str(directory / "keys"))
    assert "holds nothing" in told


@pytest.mark.parametrize("origin", ["foo", "captions.example", "https://a/b", "null"])
def test_what_no_browser_sends_is_no_origin(origin: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (told,) = mistakes(monkeypatch, GRAPHCAP_CORS_ORIGINS=f"https://captions.example,{origin}")
    assert "such as https://captions.example" in told
