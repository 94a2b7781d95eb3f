"""The settings of a process: sources, defaults and reports of all mistakes."""

from pathlib import Path

import pytest

from bridge.settings import Settings, SettingsError, environment, load

SECRET = "a-secret-that-nobody-may-read"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty directory, since `.env` is read from the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mistakes(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load()
    assert SECRET not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    return list(raised.value.mistakes)


def test_options_override_the_environment_which_overrides_the_file(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (load().host, load().port, load().timeout, load().workers) == ("127.0.0.1", 32100, 120, 1)
    (directory / ".env").write_text("GRAPHCAP_PORT=1001\nGRAPHCAP_TIMEOUT=11\nGRAPHCAP_GRACE=1\nOLLAMA_HOST=file\nX\n")
    for name, value in (("TIMEOUT", "12"), ("GRACE", "2"), ("MAX_QUEUE", ""), ("CORS_ORIGINS", "")):
        monkeypatch.setenv(f"GRAPHCAP_{name}", value)
    loaded = load(grace="3", host=None)
    assert (loaded.port, loaded.timeout, loaded.grace, loaded.host) == (1001, 12, 3, "127.0.0.1")
    assert (loaded.max_queue, loaded.cors_origins) == (256, ())  # a blank variable counts as unset
    assert environment()["OLLAMA_HOST"] == "file"
    assert "X" not in environment()
    monkeypatch.setenv("WEB_CONCURRENCY", "4")
    assert (load().workers, load(workers="2").workers) == (4, 2)


@pytest.mark.parametrize("written", ['["http://a", "http://b"]', " http://a , http://b, "])
def test_lists_are_json_or_separated_by_commas(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("GRAPHCAP_CORS_ORIGINS", written)
    monkeypatch.setenv("GRAPHCAP_PERSPECTIVES_DIR", written)
    assert load().cors_origins == ("http://a", "http://b")
    assert load().perspectives_dir == (Path("http:/a"), Path("http:/b"))


@pytest.mark.parametrize(
    ("host", "policy"),
    [
        *((host, "any") for host in ("127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost")),
        *((host, "listed") for host in ("0.0.0.0", "::", "192.168.1.5", "example.org")),
    ],
)
def test_requests_may_contain_any_base_url_only_on_loopback(host: str, policy: str) -> None:
    assert load(host=host).base_url_policy == policy
    for explicit in ("any", "listed", "none"):
        assert load(host=host, request_providers=explicit).base_url_policy == explicit


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "99999", "Input should be less than or equal to 65535."),
        ("TIMEOUT", "soon", "Input should be a valid number, unable to parse string as a number."),
        *(("TIMEOUT", value, "Input should be a finite number.") for value in ("inf", "nan")),
        ("LOG", "xml", "Input should be 'text' or 'json'."),
        ("IMAGE_URL_ALLOW", "10.1.0.0/16,10.0.0.0/99", "Invalid network: '10.0.0.0/99'."),
        ("IMAGE_URL_PORTS", "80,99999", "Input should be less than or equal to 65535."),
        ("CORS_ORIGINS", '["http://a"', "Expecting ',' delimiter: line 1 column 12 (char 11)."),
        *(("CORS_ORIGINS", f"https://a,{origin}", "Write each origin as a") for origin in ("foo", "https://a/b")),
        ("WORKSPACE", "absent", "Path does not point to a directory."),
        ("NAMED_API_KEYS", "react=a1,react=b2", "A name is repeated."),
        *(
            ("NAMED_API_KEYS", f"{name}=our-callers-key", "Write name=key,name=key with names of 1 to 32 characters")
            for name in ("React", "key-1", "x" * 33, "")
        ),
        ("NAMED_API_KEYS", "react", "An API key consists of printable ASCII characters"),
        # A template such as ${A},${B} with unset variables.
        *(("API_KEYS", value, "The list is empty; leave the variable unset instead.") for value in (",", " , ", "[]")),
        ("API_KEYS_FILE", "absent", "The file cannot be read: FileNotFoundError."),
        *(
            ("RATE_LIMIT_STORAGE", value, "Write memory:// or redis://host:port/number")
            for value in (f"redis://:{SECRET[:9]}/{SECRET}@127.0.0.1:6379/0", "memory", "ftp://x")
        ),
    ],
)
def test_a_mistake_names_the_setting_and_the_cause(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    (mistake, *further) = mistakes(monkeypatch, **{f"GRAPHCAP_{name}": value})
    assert mistake.startswith(f"GRAPHCAP_{name}: {sentence}")
    assert further == []
    assert SECRET[:9] not in mistake


def test_api_keys_have_names(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "named").write_text("react=our-react=key\nn8n=our-n8n-key\n")
    monkeypatch.setenv("GRAPHCAP_NAMED_API_KEYS_FILE", "named")
    monkeypatch.setenv("GRAPHCAP_API_KEYS", "first,second")
    loaded = load()
    names = {name: key.get_secret_value() for name, key in loaded.keys.items()}
    assert names == {"react": "our-react=key", "n8n": "our-n8n-key", "key-1": "first", "key-2": "second"}
    assert "our-" not in repr(loaded)


def test_all_mistakes_are_reported_at_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "empty").write_text("\n")
    variables = {"GRAPHCAP_PORT": "x", "GRAPHCAP_LOG": "xml", "GRAPHCAP_API_KEYS_FILE": "empty", "WEB_CONCURRENCY": "x"}
    names = [mistake.split(":")[0] for mistake in mistakes(monkeypatch, **variables)]
    assert sorted(names) == ["GRAPHCAP_API_KEYS_FILE", "GRAPHCAP_LOG", "GRAPHCAP_PORT", "GRAPHCAP_WORKERS"]
    (directory / ".env").write_text("GRAPHCAP_PORT=1001\n", encoding="utf-16")
    assert mistakes(monkeypatch) == [".env: The file is not UTF-8 text."]


def test_no_mistake_repeats_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key may be pasted into the wrong setting."""
    for name in Settings.model_fields.keys() - {"workspace", "host"}:
        for value in (SECRET, f'["{SECRET}', f'[{{"{SECRET}": 1}}]'):
            with monkeypatch.context() as patch:
                patch.setenv(f"GRAPHCAP_{name.upper()}", value)
                try:
                    load()
                except SettingsError as error:
                    assert SECRET not in f"{error!s}{error!r}"  # noqa: PT017 (most settings accept any text)
