"""providers.toml over the environment: what it may say, what it inherits, and every mistake at once."""

from pathlib import Path

import pytest

from bridge import config
from bridge.config import BreakerSettings, Configured, StandIn, file
from bridge.settings import SettingsError
from providers import factory
from providers.base import ProviderConfig

SECRET = "sk-a-secret-that-nobody-may-read"


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "providers.toml"


def load(toml: Path, text: str = "", **environment: str) -> Configured:
    toml.write_text(text)
    return config.load(toml, environment)


def mistakes(toml: Path, text: str = "", **environment: str) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        load(toml, text, **environment)
    assert SECRET not in f"{raised.value!s}{raised.value!r}{raised.value.__cause__!r}"
    return [one.removeprefix("providers.toml: ") for one in raised.value.mistakes]


def provider(toml: Path, text: str, **environment: str) -> ProviderConfig:
    return load(toml, f"[providers.mine]\n{text}", **environment).providers["mine"]


# What the environment says alone.


def test_without_a_file_every_kind_can_be_named(toml: Path) -> None:
    found = config.load(toml, {})
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
    assert [*config.ambiguous(both)] == [
        "GEMINI_API_KEY and GOOGLE_API_KEY are both set and differ; GEMINI_API_KEY is used."
    ]
    assert [*config.ambiguous({**both, "GOOGLE_API_KEY": "a\n"})] == []


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
    assert told["providers.c.kind"] == f"must be one of {kinds}."
    assert "needs one" in told["providers.d.base_url"]
    assert told["providers.d.models"] == "must be a list."
    assert "without '@' and '/'" in told["providers.e/f"]
    assert "http://" in told["providers.g.base_url"]
    assert "FileNotFoundError" in told["providers.g.api_key_file"]
    assert told["routing.'x*'"].startswith("no provider is named 'nobody'; there are builtin, ")
    assert told["routing.z*"] == "must be text in quotes."
    assert "base URL" in told["OLLAMA_HOST"]
    assert len(told) == 15  # a rule to a provider that has a mistake is no mistake of its own


@pytest.mark.parametrize(
    ("kind", "option"),
    [
        ("openai", f'detail = "{SECRET}"'),
        ("openai", "extra_body = 5"),
        ("ollama", 'num_ctx = "big"'),
        ("ollama", "num_ctx = true"),
        ("gemini", 'thinking_budget = "x"'),
        ("gemini", 'media_resolution = "ultra"'),
        ("vllm", "extra_body = []"),
        ("openrouter", 'detail = "ultra"'),
    ],
)
def test_an_option_has_a_value_that_it_can_have(toml: Path, kind: str, option: str) -> None:
    (told,) = mistakes(toml, f'[providers.mine]\nkind = "{kind}"\noptions = {{ {option} }}\n')
    assert told.startswith(f"providers.mine.options.{option.split()[0]}: it cannot have this value: ")


def test_a_secrets_file_holds_something(toml: Path) -> None:
    empty = toml.with_name("empty")
    empty.write_text("\n")
    text = f'[providers.mine]\nkind = "vllm"\nendpoints = [{{ base_url = "http://a", api_key_file = "{empty}" }}]\n'
    assert mistakes(toml, text) == ["providers.mine.endpoints.0.api_key_file: the secret's file is empty."]


def test_the_name_of_a_kind_is_no_other_kinds(toml: Path) -> None:
    (told,) = mistakes(toml, '[providers.ollama]\nkind = "vllm"\nbase_url = "http://a"\n')
    assert told.startswith("providers.ollama: this name stands for the kind 'ollama'")


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
        config.load(toml, {})


# Several endpoints.

MANY = """
[providers.mine]
kind = "vllm"
api_key = "shared"
max_concurrency = 4
timeout = 20
strategy = "weighted"
breaker = { failures = 2, open_seconds = 1.5 }
fallbacks = [{ provider = "gemini", model = "flash", on = "refusal" }]
endpoints = [
  "gpu-1:8000",
  { base_url = "http://gpu-2:8000", name = "big", weight = 3, max_concurrency = 8, api_key_env = "BIG" },
  { base_url = "http://gpu-3:8000", enabled = false },
  { base_url = "http://gpu-4/a/v1", timeout = 5, probe_interval = 1, requests_per_minute = 9, tokens_per_minute = 99 },
  { base_url = "http://gpu-4/b/v1" },
]
"""


def test_each_endpoint_has_its_own_values_or_its_providers(toml: Path) -> None:
    found = load(toml, MANY, BIG="own")
    fleet = found.fleets["mine"]
    assert (fleet.strategy, fleet.breaker) == ("weighted", BreakerSettings(2, 1.5))
    assert fleet.fallbacks == (StandIn("gemini", "flash", "refusal"),)
    assert [(one.name, one.config.base_url, one.config.api_key, one.weight) for one in fleet.endpoints] == [
        ("gpu-1:8000", "http://gpu-1:8000/v1", "shared", 1),
        ("big", "http://gpu-2:8000/v1", "own", 3),
        ("gpu-4/a/v1", "http://gpu-4/a/v1", "shared", 1),
        ("gpu-4/b/v1", "http://gpu-4/b/v1", "shared", 1),
    ]
    first, big, a, _ = fleet.endpoints
    assert (first.max_concurrency, first.timeout, first.probe_interval) == (4, 20, 30)
    assert (big.max_concurrency, big.timeout) == (8, 20)
    limits = (a.timeout, a.probe_interval, a.requests_per_minute, a.tokens_per_minute)
    assert limits == (5, 1, 9, 99)
    assert found.providers["mine"] == first.config


def test_a_provider_without_endpoints_is_one(toml: Path) -> None:
    (only,) = (
        load(toml, '[providers.mine]\nkind = "vllm"\nbase_url = "gpu-1:8000"\nmax_concurrency = 2\n')
        .fleets["mine"]
        .endpoints
    )
    assert (only.name, only.config.base_url, only.max_concurrency) == ("gpu-1:8000", "http://gpu-1:8000/v1", 2)


def test_the_environments_key_goes_to_the_endpoint_it_belongs_to_alone(toml: Path) -> None:
    text = 'kind = "openai"\nendpoints = ["https://api.openai.com", "http://proxy:4000"]'
    fleet = load(toml, f"[providers.mine]\n{text}", OPENAI_API_KEY=SECRET).fleets["mine"]
    assert [one.config.api_key for one in fleet.endpoints] == [SECRET, ""]


def test_one_address_with_two_keys_is_two_accounts(toml: Path) -> None:
    text = 'endpoints = [{ base_url = "http://a", name = "1", api_key = "x" }, '
    text += '{ base_url = "http://a", name = "2", api_key = "y" }]'
    fleet = load(toml, f'[providers.mine]\nkind = "vllm"\n{text}').fleets["mine"]
    assert [one.config.api_key for one in fleet.endpoints] == ["x", "y"]


ONE = 'kind = "vllm"\nbase_url = "http://a"\n'


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        (f'{ONE}strategy = "fastest"', "strategy", "'least_connections', 'round_robin', 'weighted' or 'random'"),
        (f"{ONE}breaker = {{ failures = 0 }}", "breaker.failures", "must be 1 or more"),
        (f"{ONE}breaker = {{ seconds = 1 }}", "breaker.seconds", "is not one of failures, open_seconds."),
        (f'{ONE}timeout = "5"', "timeout", "must be a number"),
        (f"{ONE}timeout = inf", "timeout", "must be a number with an end"),
        (f"{ONE}max_concurrency = true", "max_concurrency", "must be a whole number"),
        (f"{ONE}requests_per_minute = 0", "requests_per_minute", "must be 1 or more"),
        (f'{ONE}fallbacks = [{{ provider = "nobody" }}]', "fallbacks.0.provider", "'nobody' is not one of builtin, "),
        (f'{ONE}fallbacks = [{{ provider = "gemini" }}]', "fallbacks.0.model", "no default_model"),
        (
            f'{ONE}fallbacks = [{{ provider = "openai-compatible", model = "x" }}]',
            "fallbacks.0.provider",
            "no base_url",
        ),
        (f'{ONE}fallbacks = [{{ provider = "builtin", on = "fire" }}]', "fallbacks.0.on", "'any' or 'refusal'"),
        ('kind = "vllm"\nendpoints = []', "endpoints", "at least one must be enabled"),
        ('kind = "vllm"\nendpoints = [{ base_url = "http://a", enabled = false }]', "endpoints", "must be enabled"),
        ('kind = "vllm"\nendpoints = [{ weight = 2 }]', "endpoints.0.base_url", "needs one"),
        ('kind = "vllm"\nendpoints = ["http://a", { base_url = "http://b", weight = -1 }]', "endpoints.1.weight", "0"),
        ('kind = "vllm"\nendpoints = [{ base_url = "http://a", wait = 1 }]', "endpoints.0.wait", "base_url, name, "),
        ('kind = "vllm"\nendpoints = ["http://a", "http://a/v1/"]', "endpoints", "http://a/v1 stands there 2 times"),
        ('kind = "vllm"\nendpoints = ["ftp://a"]', "endpoints.0.base_url", "http://"),
        (f'{ONE}endpoints = ["http://b"]', "", "give only one of base_url and endpoints"),
        ('kind = "builtin"\nendpoints = ["http://a"]', "endpoints", "'builtin' has none"),
        (
            'kind = "vllm"\nendpoints = [{ base_url = "http://a", name = "x" }, { base_url = "http://b", name = "x" }]',
            "endpoints",
            "2 endpoints are named 'x'",
        ),
        (
            f'kind = "vllm"\nendpoints = [{{ base_url = "http://a", api_key_file = "/nonexistent/{SECRET}" }}]',
            "endpoints.0.api_key_file",
            "FileNotFoundError",
        ),
        (
            f'kind = "vllm"\nendpoints = [{{ base_url = "http://a", api_key = "{SECRET}", api_key_env = "X" }}]',
            "endpoints.0",
            "give only one of",
        ),
    ],
)
def test_one_mistake_is_told_once_with_its_place(toml: Path, text: str, place: str, sentence: str) -> None:
    (first, *others) = mistakes(toml, f"[providers.mine]\n{text}\n", X="y")
    where, told = first.split(": ", 1)
    assert (where, others) == (f"providers.mine.{place}".removesuffix("."), [])
    assert sentence in told


def test_no_provider_stands_in_for_itself(toml: Path) -> None:
    text = """
[providers.mine]
kind = "vllm"
base_url = "http://a"
default_model = "m"
fallbacks = [{ provider = "mine" }, 5, { provider = "mine", model = "m" }, { provider = "mine", model = "smaller" }]
"""
    itself = "'mine' cannot stand in for itself with the same model."
    assert mistakes(toml, text) == [
        "providers.mine.fallbacks.1: must be a table.",
        f"providers.mine.fallbacks.0: {itself}",
        f"providers.mine.fallbacks.2: {itself}",
    ]


def test_every_mistake_of_several_endpoints_at_once(toml: Path) -> None:
    text = """
kind = "vllm"
strategy = "fastest"
endpoints = [
  { base_url = "http://a", weight = -1 },
  5,
  { base_url = "http://b", api_key_env = "UNSET", max = 1 },
]
"""
    told = [one.split(": ")[0] for one in mistakes(toml, f"[providers.mine]{text}")]
    assert told == [
        f"providers.mine.{one}"
        for one in ("endpoints.0.weight", "endpoints.1", "endpoints.2.max", "strategy", "endpoints.2.api_key_env")
    ]


def test_mistakes_stand_in_the_order_of_the_file(toml: Path) -> None:
    names = [f"p{place}" for place in range(20)]
    lost = 'kind = "vllm"\nbase_url = "http://a"\nfallbacks = [{ provider = "nobody" }]'
    told = mistakes(toml, "".join(f"[providers.{name}]\n{lost}\n" for name in names))
    assert [one.split(".")[1] for one in told] == names


def test_an_unknown_kind_hides_no_other_mistake(toml: Path) -> None:
    text = """
[providers.studio]
kind = "vlm"
api_key_env = "NOT_SET_ANYWHERE"
endpoints = ["ftp://x", {weight = 2}, "http://a:1/v1", "http://a:1/v1"]
"""
    assert [one.partition(": ")[0] for one in mistakes(toml, text)] == [
        "providers.studio.kind",
        "providers.studio.api_key_env",
        "providers.studio.endpoints.0.base_url",
        "providers.studio.endpoints.1.base_url",
        "providers.studio.endpoints",
    ]
