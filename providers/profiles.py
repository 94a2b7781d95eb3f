"""Properties of models: one row per kind of provider. Rows of model families override its values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class ImageProfile:
    """The images that a model accepts.

    `media_types`: the accepted encodings. `size`: the longest useful side in pixels; larger images are scaled down
    (None: no limit). `max_side`, `max_bytes`: the provider's limits in pixels and bytes (None: no known limit).
    """

    media_types: frozenset[str] = frozenset({"image/jpeg", "image/png"})
    size: int | None = 2048
    max_side: int | None = None
    max_bytes: int | None = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Profile:
    """Properties of a model family.

    `image`: the accepted images. `reasoning`: the model accepts no temperature and no top_p. `context`: tokens of
    context to request from servers with a small default (Ollama's num_ctx). `max_tokens`: the default to send if
    the protocol requires max_tokens (Anthropic).
    """

    image: ImageProfile = ImageProfile()
    reasoning: bool = False
    context: int | None = None
    max_tokens: int | None = None


_MIB = 1024 * 1024
_JPEG_PNG = frozenset({"image/jpeg", "image/png"})
_WEBP = _JPEG_PNG | {"image/webp"}

# llama.cpp decodes with stb_image, which does not know WebP: ollama/ollama#7388, mealie-recipes/mealie#4097,
# lmstudio-ai/lmstudio-bug-tracker#1150. Ollama's default context of 2-4 k tokens drops the front of a prompt
# (ollama/ollama#17889), so requests to Ollama always set the context size.
_KINDS: Mapping[str, Profile] = {
    "openai": Profile(ImageProfile(_WEBP | {"image/gif"}, size=2048, max_bytes=20 * _MIB)),
    # platform.claude.com/docs/en/build-with-claude/vision: at most 8000 pixels, and 10 MB of base64 (7.5 MB of bytes).
    "anthropic": Profile(
        ImageProfile(_WEBP | {"image/gif"}, size=2576, max_side=8000, max_bytes=7 * _MIB), max_tokens=16_384
    ),
    "vllm": Profile(ImageProfile(_WEBP, size=2048)),
    "ollama": Profile(ImageProfile(_JPEG_PNG, size=1568), context=8192),
    **dict.fromkeys(("llamacpp", "local", "lmstudio"), Profile(ImageProfile(_JPEG_PNG, size=1568))),
    # A request is limited to 20 MB including the base64 of images, which is a third larger than the bytes.
    "gemini": Profile(ImageProfile(_WEBP, size=3072, max_bytes=14 * _MIB)),
    "builtin": Profile(ImageProfile(_WEBP | {"image/gif"}, size=None, max_bytes=None)),
}
# A gateway may route to any server, so only formats that every server decodes are listed.
_ANY = Profile(ImageProfile(_JPEG_PNG, size=2048))

# tmc/langchaingo#1355: these models accept only the default temperature.
_REASONING, _NOT_REASONING = ("o1*", "o3*", "o4*", "gpt-5*"), ("gpt-5*chat*",)
# Model families with the longest side that their preprocessor keeps (preprocessor_config.json): larger images cost time
# without more detail.
_SIZES = (
    # Models before Claude 4.7 scale images down to 1568 pixels (same page).
    (("claude-3*", "claude-*-4", "claude-*-4[-.@][0-6]*"), 1568),
    (("gemma3*", "gemma-3*"), 896),
    (("llava*", "bakllava*"), 1344),
    (("pixtral*",), 1024),
    # osaurus-ai/vmlx-swift#107: longest_edge 1540
    (("mistral-small*", "mistral-medium*", "magistral*"), 1540),
)


@lru_cache(512)
def profile(kind: str, model: str) -> Profile:
    """Return the properties of a model when served by this kind of provider."""
    name = model.lower().rpartition("/")[2]

    def belongs(patterns: tuple[str, ...]) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    properties = _KINDS.get(kind, _ANY)
    sizes = [size for patterns, size in _SIZES if belongs(patterns)]
    if properties.image.size is not None:
        properties = replace(properties, image=replace(properties.image, size=min([properties.image.size, *sizes])))
    return replace(properties, reasoning=belongs(_REASONING) and not belongs(_NOT_REASONING))
