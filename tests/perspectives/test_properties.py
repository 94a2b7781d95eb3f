"""Generated schemas validate as with jsonschema-rs, and invalid ones are rejected without a crash."""

from collections.abc import Callable
from typing import Any, TypeVar

import jsonschema_rs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perspectives import InvalidPerspective, ValidationFailed, compile_schema, parse
from perspectives.errors import MAX_PROBLEMS
from tests.perspectives.schemas import ANSWERS, GARBAGE, VALUES, schemas

BOUNDED = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
DRAFT = "https://json-schema.org/draft/2020-12/schema"
T = TypeVar("T")


def attempt(function: Callable[..., T], *arguments: Any) -> T | None:
    """Call the function, and return None if it raises an error with readable problems."""
    try:
        return function(*arguments)
    except (InvalidPerspective, ValidationFailed) as error:
        problems = error.problems
    assert 1 <= len(problems) <= MAX_PROBLEMS
    assert all(0 < len(problem.message) < 2_000 for problem in problems)
    assert all(problem.pointer == "" or problem.pointer[0] == "/" for problem in problems)
    return None


@BOUNDED
@given(schemas(), st.lists(ANSWERS | VALUES, min_size=4, max_size=4))
def test_accepted_schema_validates_as_the_library_does(schema: dict[str, Any], answers: list[Any]) -> None:
    validator = attempt(compile_schema, schema)
    if validator is None:
        return
    library = jsonschema_rs.validator_for({"$schema": DRAFT, **schema}, validate_formats=True, offline=True)
    for answer in answers:
        validated = attempt(validator.validate, answer)
        if validated is None:
            assert not library.is_valid(answer)
        else:
            assert library.is_valid(validated.value)
            assert validator.validate(validated.value).value == validated.value
            assert not library.is_valid(answer) or validated.value.keys() <= answer.keys()


@BOUNDED
@given(GARBAGE)
def test_garbage_is_rejected_with_readable_problems(garbage: Any) -> None:
    for data in (
        garbage,
        {"prompt": garbage, "variables": garbage, "schema": garbage},
        {"prompt": "p", "json_schema": garbage},
        {"prompt": "p", "schema_fields": garbage},
    ):
        attempt(parse, data)
