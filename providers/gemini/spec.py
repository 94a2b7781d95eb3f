"""What is known of Gemini before any client exists."""

from collections.abc import Mapping

from providers.base import Spec

SPEC = Spec(
    kind="gemini",
    title="Gemini",
    base_url="https://generativelanguage.googleapis.com",
    key_env=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    url_env=("GOOGLE_GEMINI_BASE_URL",),
    needs_key=True,
    takes=frozenset({"max_tokens", "temperature", "top_p", "seed"}),
    options={
        "safety_settings": 'a threshold by harm category, such as HARM_CATEGORY_HARASSMENT = "BLOCK_ONLY_HIGH"',
        "media_resolution": "how many tokens a picture becomes: low, medium or high",
        "thinking_budget": "tokens for thinking: 0 is none, -1 leaves it to the model",
        "thinking_level": "how much newer models think: minimal, low, medium or high",
    },
    values={
        "safety_settings": (Mapping,),
        "media_resolution": frozenset({"low", "medium", "high"}),
        "thinking_budget": (int,),
        "thinking_level": frozenset({"minimal", "low", "medium", "high", "xhigh"}),
    },
    note="Without safety_settings Google's own defaults hold.",
)
