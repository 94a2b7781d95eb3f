"""Estimate the costs of the regular expressions of a schema.

Patterns run in Rust's linear-time engine, but compiling one can be slow: `\\p{L}{140}` takes 37 ms.
"""

import re
from functools import lru_cache
from math import prod

from jsonschema_rs import RegexOptions, ValidationError, validator_for

MAX_COMPILE_COST = 1_000  # maximum total `compile_cost` of the patterns of a schema: about 50 ms (jsonschema-rs 0.60)

# maximum size of the compiled program in bytes -> cost (for at most 0.05, 0.6, 5 and 20 ms)
_TIERS = {10_000: 1, 100_000: 12, 1_000_000: 100, 4_000_000: 400}
_DFA_BYTES = 100_000
_REPEAT = re.compile(r"\{\s*(\d*)\s*,?\s*(\d*)\s*\}")
OPTIONS = RegexOptions(size_limit=max(_TIERS), dfa_size_limit=_DFA_BYTES)


@lru_cache(maxsize=128)  # a schema may have 256 KB
def compile_cost(pattern: str) -> int:
    """Return the cost of compiling the pattern. Raises ValueError if the engine rejects the pattern."""
    for size, cost in _TIERS.items():
        try:
            validator_for({"pattern": pattern}, pattern_options=RegexOptions(size_limit=size), offline=True)
        except ValidationError:
            continue
        return cost
    raise ValueError(
        "Is not a valid pattern of the linear-time engine (Rust's regex), which has no look-around and no "
        "back-references, or is too large: repeat less, or limit the length with maxLength."
    )


def match_cost(pattern: str) -> int:
    """Estimate how many states of the pattern are active per character. An active state costs 4 ns."""
    repeats = prod(max(int(bound[:6] or 1) for bound in bounds) or 1 for bounds in _REPEAT.findall(pattern))
    return 1 + min(repeats * len(pattern) // 8, max(_TIERS) // 70)
