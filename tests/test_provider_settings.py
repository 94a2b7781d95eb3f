"""providers.toml over the environment: what it may say, what it inherits, and every mistake at once."""

from pathlib import Path

import pytest

from bridge import provider_settings
from bridge.provider_settings import Configured, file
from bridge.settings import SettingsError
from providers import factory
from providers.base import ProviderConfig

SECRET = "sk-a-secret-that-nobody-may-read"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "providers.toml"


def load(toml: Path, text: str = "", **environment: str) -> Configured:
    toml.write_text(text)
    return provider_settings.load(toml, environment)


def mistakes(toml: Path, text: str = "", **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(toml, text, **environment)
    assert SECRET not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    return [one.removeprefix("providers.toml: ") for one in raised.value.mistakes]


def provider(toml: Path, text: str, **environment: str) -> ProviderConfig:
    return load(toml, f"[providers.mine]\n{text}", **environment).providers["mine"]


# What the environment says alone.


def test_without_a_file_every_kind_can_be_named(toml: Path) -> None:
    found = provider_settings.load(toml, {})
    assert list(found.providers) == [spec.kind for spec in factory.specs()]
    assert found.explicit == frozenset()
    assert not any(one.api_key for one in found.providers.values())


@pytest.mark.parametrize(
    ("name", "kind"), [(name, spec.kind) for spec in factory.specs() for name in spec.key_env], ids=lambda one: one
)
def test_every_key_has_a_variable_and_may_stand_in_a_file(toml: Path, tmp_path: Path, name: str, kind: str) -> None:
    assert load(toml, **{name: f" {SECRET}\n"}).providers[kind].api_key == SECRET
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert load(toml, **{f"{name}_FILE": str(tmp_path / "secret")}).providers[kind].api_key == SECRET


def test_the_first_variable_that_is_set_wins(toml: Path) -> None:
    both = {"GEMINI_API_KEY": "first", "GOOGLE_API_KEY": "second"}
    assert load(toml, **both).providers["gemini"].api_key == "first"
    assert load(toml, **{**both, "GEMINI_API_KEY": ""}).providers["gemini"].api_key == "second"


def test_two_names_with_different_keys_are_told() -> None:
    both = {"GEMINI_API_KEY": "a", "GOOGLE_API_KEY": "b"}
    assert [*provider_settings.ambiguous(both)] == [
        "GEMINI_API_KEY and GOOGLE_API_KEY are both set and differ; GEMINI_API_KEY is used."
    ]
    assert [*provider_settings.ambiguous({**both, "GOOGLE_API_KEY": "a\n"})] == []


@pytest.mark.parametrize(
    ("name", "kind", "written", "url"),
    [
        ("OPENAI_BASE_URL", "openai", "http://proxy:4000", "http://proxy:4000/v1"),
        ("OPENAI_BASE_URL", "openai", "https://proxy/openai/v1/", "https://proxy/openai/v1"),
        ("OPENAI_BASE_URL", "openai", "", "https://api.openai.com/v1"),
        ("OLLAMA_HOST", "ollama", "0.0.0.0", "http://127.0.0.1:11434"),
        ("OLLAMA_HOST", "ollama", "0.0.0.0:11500", "http://127.0.0.1:11500"),
        ("OLLAMA_HOST", "ollama", "gpu-1", "http://gpu-1:11434"),
        ("OLLAMA_HOST", "ollama", "gpu-1:1234", "http://gpu-1:1234"),
        ("OLLAMA_HOST", "ollama", "https://ollama.example/api", "https://ollama.example"),
        ("VLLM_API_BASE", "vllm", "gpu-1:8000", "http://gpu-1:8000/v1"),
        ("GOOGLE_GEMINI_BASE_URL", "gemini", "https://proxy/v1beta", "https://proxy"),
    ],
)
def test_addresses_are_taken_as_people_write_them(toml: Path, name: str, kind: str, written: str, url: str) -> None:
    assert load(toml, **{name: written}).providers[kind].base_url == url


# What the file says.


def test_a_whole_file(toml: Path) -> None:
    found = load(
        toml,
        '[providers."My studio"]\nkind = "ollama"\nbase_url = "gpu-1"\napi_key = "own"\ndefault_model = "llava"\n'
        'models = ["llava", "moondream"]\noptions = { num_ctx = 4096 }\n[routing]\n"llava*" = "My studio"\n'
        '"Gemini-*" = "gemini"\n',
    )
    assert found.providers["My studio"] == ProviderConfig(
        "My studio", "ollama", "http://gpu-1:11434", "own", "llava", ("llava", "moondream"), {"num_ctx": 4096}
    )
    assert found.explicit == {"My studio"}
    routed = [found.routed(model) for model in ("llava:7b", "LLaVA-1.6", "gemini-2.5-flash", "other")]
    assert routed == ["My studio", "My studio", "gemini", None]


def test_a_name_of_a_kind_replaces_what_the_environment_says(toml: Path) -> None:
    found = load(toml, '[providers.openai]\nkind = "openai"\nbase_url = "http://proxy"\n', OPENAI_API_KEY=SECRET)
    assert (found.providers["openai"].base_url, found.providers["openai"].api_key) == ("http://proxy/v1", "")


def test_three_ways_to_a_key(toml: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("from-file\n")
    kind = 'kind = "vllm"\n'
    assert provider(toml, f'{kind}api_key = " written "').api_key == "written"
    assert provider(toml, f'{kind}api_key_env = "STUDIO"', STUDIO="from-env").api_key == "from-env"
    assert provider(toml, f'{kind}api_key_file = "{tmp_path}/secret"').api_key == "from-file"
    in_file = {"STUDIO_FILE": f"{tmp_path}/secret"}
    assert provider(toml, f'{kind}api_key_env = "STUDIO"', **in_file).api_key == "from-file"


@pytest.mark.parametrize(
    ("address", "inherits"),
    [
        ("", True),
        ("https://api.openai.com", True),
        ("https://API.openai.com:443/v1/", True),
        ("http://api.openai.com", False),
        ("https://api.openai.com:8443", False),
        ("https://api.openai.com.example", False),
        ("http://proxy:4000", False),
    ],
)
def test_the_environments_key_goes_only_to_the_address_it_belongs_to(toml: Path, address: str, inherits: bool) -> None:
    found = provider(toml, f'kind = "openai"\nbase_url = "{address}"', OPENAI_API_KEY=SECRET)
    assert found.api_key == (SECRET if inherits else "")


def test_no_key_shows_in_a_repr(toml: Path) -> None:
    text = f'[providers.mine]\nkind = "vllm"\napi_key = "{SECRET}"\n'
    assert SECRET not in repr(load(toml, text, OPENAI_API_KEY=SECRET))
    assert SECRET not in repr(file.Entry(kind="vllm", api_key=SECRET))


# What is wrong.


def test_every_mistake_is_told_with_its_place_and_what_is_allowed(toml: Path) -> None:
    text = f"""
colour = 1
[providers.a]
kind = "acme"
[providers.b]
kind = "vllm"
modell = "x"
options = {{ num_ctx = 1 }}
api_key = "{SECRET}"
api_key_env = "UNSET"
[providers.c]
base_url = "http://c"
[providers.d]
kind = "openai-compatible"
models = "one"
[providers."e/f"]
kind = "vllm"
[providers.g]
kind = "vllm"
base_url = "ftp://{SECRET}"
api_key_file = "/nonexistent/{SECRET}"
[routing]
"x*" = "nobody"
"y*" = "a"
"z*" = 5
"""
    told = {one.split(": ")[0]: one.split(": ", 1)[1] for one in mistakes(toml, text, OLLAMA_HOST="http://[")}
    kinds = ", ".join(spec.kind for spec in factory.specs())
    assert told["colour"] == "is not one of providers, routing."
    assert told["providers.a.kind"] == f"'acme' is not one of {kinds}."
    assert told["providers.b.modell"].startswith("is not one of kind, base_url, api_key, ")
    assert told["providers.b.options"] == "'num_ctx' is not one of extra_body."
    assert told["providers.b"] == "give only one of api_key, api_key_env and api_key_file."
    assert told["providers.b.api_key_env"] == "UNSET is not set."
    assert "required" in told["providers.c.kind"]
    assert "needs one" in told["providers.d.base_url"]
    assert "valid tuple" in told["providers.d.models"]
    assert "without '@' and '/'" in told["providers.e/f"]
    assert "http://" in told["providers.g.base_url"]
    assert "FileNotFoundError" in told["providers.g.api_key_file"]
    assert told["routing.'x*'"].startswith("no provider is named 'nobody'; there are builtin, ")
    assert "valid string" in told["routing.z*"]
    assert "base URL" in told["OLLAMA_HOST"]
    assert len(told) == 15  # a rule to a provider that has a mistake is no mistake of its own


@pytest.mark.parametrize(
    "text",
    [
        f'providers = "{SECRET}"',
        f'[providers]\na = "{SECRET}"',
        f'[providers.a]\nkind = "vllm"\napi_key = ["{SECRET}"]',
        f'[providers.a]\nkind = "vllm"\napi_key = "{SECRET}',
        f'[providers.a]\nkind = "vllm"\nbase_url = "https://someone:{SECRET}@host"',
        f'[providers.a]\nkind = "vllm"\nbase_url = "https://host:{SECRET}"',
        f'[providers.a]\nkind = "vllm"\nbase_url = "https://host/v1?key={SECRET}"',
        f'[providers.""]\nkind = "vllm"\napi_key = "{SECRET}"',
        f'[routing]\na = {{ b = "{SECRET}" }}',
    ],
)
def test_no_mistake_repeats_a_secret(toml: Path, text: str) -> None:
    assert len(mistakes(toml, text)) == 1


def test_files_that_cannot_be_read(toml: Path, tmp_path: Path) -> None:
    assert mistakes(toml, OPENAI_API_KEY_FILE=str(tmp_path)) == [
        "OPENAI_API_KEY_FILE: the secret's file cannot be read: IsADirectoryError."
    ]
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert "UnicodeDecodeError" in mistakes(toml, VLLM_API_KEY_FILE=str(tmp_path / "binary"))[0]
    toml.unlink()
    toml.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        provider_settings.load(toml, {})
