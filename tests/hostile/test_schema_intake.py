"""Any text as a model's answer to any schema gives JSON or a validation error."""

import json
import string
from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.captioning.answers import read
from perspectives import InvalidPerspective, compile_schema
from tests.perspectives.schemas import GARBAGE, schemas

TEXTS = st.text(st.sampled_from('{}[]",:\\`\n 0159eE.-+u\ud83d\x00' + string.ascii_letters), max_size=60)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(schemas(), TEXTS, GARBAGE)
def test_any_text_as_an_answer(schema: dict[str, Any], text: str, value: Any) -> None:
    with suppress(InvalidPerspective):
        validator = compile_schema(schema)
        for answer in (text, f"{text} {json.dumps(value)}", f"```{json.dumps({'a': value})}```{text}"):
            json.dumps(read(answer, validator).result, ensure_ascii=False, allow_nan=False).encode()
