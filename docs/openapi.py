"""Write openapi.json, the committed HTTP contract. A test fails when it differs from the code."""

import json
from pathlib import Path

from bridge.api import openapi
from bridge.app import build
from bridge.settings import Settings

FILE = Path(__file__).resolve().parent.parent / "openapi.json"

if __name__ == "__main__":
    built = openapi.build(build(Settings.model_construct()))
    FILE.write_text(json.dumps(built, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
