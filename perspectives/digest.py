"""One short name for content: sha256 of its JSON, order of keys included (it is the order a model is asked in)."""

import json
from hashlib import sha256
from typing import Any


def digest(content: Any) -> str:
    """The digest of plain JSON, in hexadecimal."""
    return sha256(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()
