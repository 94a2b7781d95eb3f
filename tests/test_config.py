"""providers.toml and the environment: values, inheritance and reports of all mistakes."""

from pathlib import Path

import pytest

from bridge.config import providers_toml
from bridge.config.load import load as load_providers
from bridge.config.models import BreakerSettings, Configured, FallbackSettings
from bridge.settings import SettingsError
from providers import registry
from providers.base import ProviderConfig

SECRET = "sk-a-secret-that-nobody-may-read"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "providers.toml"


def load(toml: Path, text: str = "", **environment: str) -> Configured:
    toml.write_text(text)
    return load_providers(toml, environment)


def mistakes(toml: Path, text: str = "", **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(toml, text, **environment)
    assert SECRET not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    return [mistake.removeprefix("providers.toml: ") for mistake in raised.value.mistakes]


def provider(toml: Path, text: str, **environment: str) -> ProviderConfig:
    return load(toml, f"[providers.mine]\n{text}", **environment).providers["mine"]


def test_a_key_is_read_from_the_file_the_environment_or_a_secret(toml: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert {provider.api_key for provider in load_providers(toml, {}).providers.values()} == {""}
    for spec in registry.specs():
        for name in spec.key_env:
            assert load(toml, **{name: f" {SECRET}\n"}).providers[spec.kind].api_key == SECRET
            file = {f"{name}_FILE": str(tmp_path / "secret")}
            assert load(toml, **file).providers[spec.kind].api_key == SECRET
    kind = 'kind = "vllm"\n'
    in_file = {"STUDIO_FILE": f"{tmp_path}/secret"}
    assert provider(toml, f'{kind}api_key = " written "').api_key == "written"
    assert provider(toml, f'{kind}api_key_env = "STUDIO"', STUDIO="from-env").api_key == "from-env"
    assert provider(toml, f'{kind}api_key_file = "{tmp_path}/secret"').api_key == SECRET
    assert provider(toml, f'{kind}api_key_env = "STUDIO"', **in_file).api_key == SECRET


def test_a_complete_file(toml: Path) -> None:
    configured = load(
        toml,
        '[providers."My studio"]\nkind = "ollama"\nbase_url = "gpu-1"\napi_key = "own"\ndefault_model = "llava"\n'
        'models = ["llava", "moondream"]\noptions = { num_ctx = 4096 }\nmax_concurrency = 2\n'
        '[routing]\n"llava*" = "My studio"\n"Gemini-*" = "gemini"\n',
    )
    assert configured.providers["My studio"] == ProviderConfig(
        "My studio", "ollama", "http://gpu-1:11434", "own", "llava", ("llava", "moondream"), {"num_ctx": 4096}
    )
    assert configured.explicit == {"My studio"}
    (endpoint,) = configured.fleets["My studio"].endpoints
    assert (endpoint.name, endpoint.max_concurrency, endpoint.timeout) == ("gpu-1:11434", 2, 0)
    routed = [configured.routed(model) for model in ("llava:7b", "LLaVA-1.6", "gemini-2.5-flash", "other")]
    assert routed == ["My studio", "My studio", "gemini", None]


@pytest.mark.parametrize(
    ("address", "inherits"),
    [
        ("", True),
        ("https://API.openai.com:443/v1/", True),
        ("http://api.openai.com", False),
        ("https://api.openai.com:8443", False),
        ("https://api.openai.com.example", False),
    ],
)
def test_a_key_from_the_environment_is_used_only_at_its_own_origin(toml: Path, address: str, inherits: bool) -> None:
    text = f'kind = "openai"\nbase_url = "{address}"'
    assert provider(toml, text, OPENAI_API_KEY=SECRET).api_key == (SECRET if inherits else "")
    endpoints = f'kind = "openai"\nendpoints = ["{address or "https://api.openai.com"}", "http://proxy:4000"]'
    configured = load(toml, f"[providers.openai]\n{endpoints}", OPENAI_API_KEY=SECRET)
    keys = [endpoint.config.api_key for endpoint in configured.fleets["openai"].endpoints]
    assert keys == [SECRET if inherits else "", ""]
    table = providers_toml.ProviderTable(kind="vllm", api_key=SECRET)
    assert SECRET not in f"{configured!r}{table!r}"


ENDPOINTS = """
[providers.mine]
kind = "vllm"
api_key = "shared"
max_concurrency = 4
timeout = 20
strategy = "weighted"
breaker = { failures = 2, open_seconds = 1.5 }
fallbacks = [{ provider = "gemini", model = "flash", on = "refusal" }, { provider = "builtin", model = "" }]
endpoints = [
  "gpu-1:8000",
  { base_url = "http://gpu-2:8000", name = "big", weight = 3, max_concurrency = 8, api_key_env = "BIG" },
  { base_url = "http://gpu-3:8000", enabled = false },
  { base_url = "http://gpu-4/a/v1", timeout = 5, probe_interval = 1, requests_per_minute = 9, tokens_per_minute = 99 },
  { base_url = "http://gpu-4/b/v1", name = "b", timeout = 0 },
]
"""


def test_an_endpoint_has_its_own_values_or_those_of_its_provider(toml: Path) -> None:
    configured = load(toml, ENDPOINTS, BIG="own")
    settings = configured.fleets["mine"]
    assert (settings.strategy, settings.breaker) == ("weighted", BreakerSettings(2, 1.5))
    assert settings.fallbacks == (FallbackSettings("gemini", "flash", "refusal"), FallbackSettings("builtin"))
    assert settings.disabled == ("gpu-3:8000",)
    assert [(item.name, item.config.base_url, item.config.api_key, item.weight) for item in settings.endpoints] == [
        ("gpu-1:8000", "http://gpu-1:8000/v1", "shared", 1),
        ("big", "http://gpu-2:8000/v1", "own", 3),
        ("gpu-4", "http://gpu-4/a/v1", "shared", 1),
        ("b", "http://gpu-4/b/v1", "shared", 1),
    ]
    first, big, a, b = settings.endpoints
    assert (first.max_concurrency, first.timeout, first.probe_interval) == (4, 20, 30)
    assert (big.max_concurrency, big.timeout, b.timeout) == (8, 20, 0)
    assert (a.timeout, a.probe_interval, a.requests_per_minute, a.tokens_per_minute) == (5, 1, 9, 99)
    assert configured.providers["mine"] == first.config


VLLM = 'kind = "vllm"\nbase_url = "http://a"\n'
LISTED = 'kind = "vllm"\nendpoints = '


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        # Structure.
        ('kind = "olama"', "kind", "Unknown kind 'olama'. Did you mean 'ollama'? Known kinds: builtin, "),
        (f'{VLLM}modles = ["x"]', "modles", "Unknown key. Did you mean 'models'?"),
        (f"{VLLM}breaker = {{ failures = 0 }}", "breaker.failures", "Input should be greater than or equal to 1."),
        (f"{VLLM}breaker = {{ open_second = 1 }}", "breaker.open_second", "Unknown key. Did you mean 'open_seconds'?"),
        (f'{VLLM}fallbacks = [{{ provider = "builtin", on = "fire" }}]', "fallbacks.0.on", "'any' or 'refusal'."),
        (f'{LISTED}[{{ base_url = "http://a", wieght = 1 }}]', "endpoints.0.wieght", "Did you mean 'weight'?"),
        (
            f'{LISTED}[{{ base_url = "http://a", api_key = "{SECRET}", api_key_env = "X" }}]',
            "endpoints.0",
            "Set only one of api_key, api_key_env and api_key_file.",
        ),
        # Meaning.
        ('kind = "openai-compatible"', "base_url", "A provider of kind 'openai-compatible' needs a base_url."),
        (f'{VLLM}api_key_env = "UNSET"', "api_key_env", "The variable UNSET is not set."),
        (f'{VLLM}api_key_file = "/dev/null"', "api_key_file", "The file is empty."),
        (f"{VLLM}options = {{ extra_bdy = {{}} }}", "options.extra_bdy", "Did you mean 'extra_body'? Known options: "),
        (f'kind = "openai"\noptions = {{ detail = "{SECRET}" }}', "options.detail", "Invalid value."),
        (f'{VLLM}fallbacks = [{{ provider = "gemni" }}]', "fallbacks.0.provider", "Did you mean 'gemini'? Known "),
        (f'{LISTED}["http://a", "http://a/v1/"]', "endpoints", "2 endpoints have the name 'a'."),
        (f'{VLLM}endpoints = ["http://b"]', "", "Set only one of base_url and endpoints."),
        ('kind = "builtin"\nendpoints = ["http://a"]', "endpoints", "'builtin' has no endpoints."),
    ],
)
def test_a_mistake_is_reported_once_with_its_place(toml: Path, text: str, place: str, sentence: str) -> None:
    (mistake,) = mistakes(toml, f"[providers.mine]\n{text}\n", X="y")
    location, _, message = mistake.partition(": ")
    assert location == f"providers.mine.{place}".removesuffix(".")
    assert sentence in message


@pytest.mark.parametrize(
    "text",
    [
        f'providers = "{SECRET}"',
        f'[providers.a]\nkind = "vllm"\napi_key = ["{SECRET}"]',
        f'[providers.a]\nkind = "vllm"\napi_key = "{SECRET}',
        f'[providers.a]\nkind = "vllm"\nbase_url = "https://someone:{SECRET}@host"',
        f'[providers.a]\nkind = "vllm"\nbase_url = "https://host:{SECRET}"',
        f'[providers.""]\nkind = "vllm"\napi_key = "{SECRET}"',
        f'[routing]\na = {{ b = "{SECRET}" }}',
    ],
)
def test_no_mistake_repeats_a_secret(toml: Path, text: str) -> None:
    assert len(mistakes(toml, text)) == 1


STRUCTURE = """
colour = 1
[providers.a]
kind = "acme"
timeout = -1
[providers."e/f"]
kind = "vllm"
endpoints = [{ base_url = "http://a", weight = -1 }, 5, { base_url = "http://b", max = 1 }]
[routing]
"z*" = 5
"""


def test_all_mistakes_are_reported_at_once(toml: Path) -> None:
    places = "providers.a.timeout providers.a.kind providers.e/f providers.e/f.endpoints.0.weight OLLAMA_HOST colour "
    places += "providers.e/f.endpoints.1 providers.e/f.endpoints.2.max routing.z*"
    reported = mistakes(toml, STRUCTURE, OLLAMA_HOST="http://[")
    assert sorted(mistake.split(": ")[0] for mistake in reported) == sorted(places.split())


@pytest.mark.parametrize(("line", "limit"), [("", 1), ("max_concurrency = 3", 3)])
def test_the_embedded_engine_gets_its_limit_of_calls(toml: Path, line: str, limit: int) -> None:
    configured = load(toml, f'[providers.mine]\nkind = "local"\n{line}\n')
    (endpoint,) = configured.fleets["mine"].endpoints
    assert (endpoint.max_concurrency, endpoint.config.options["max_concurrency"]) == (limit, limit)
    (implicit,) = configured.fleets["local"].endpoints
    assert implicit.max_concurrency == 1
