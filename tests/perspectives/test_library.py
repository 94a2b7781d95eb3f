"""Every shipped perspective."""

import json
import re
from typing import Any

import pytest

from perspectives import Perspective, ValidationFailed, catalog, parse
from perspectives.catalog import LIBRARY
from tests.servers.instances import instance
from tests.servers.schemas import nodes
from tests.service import WORKSPACE

PROMISED = {
    "core": "graph_caption art_critic locality_graph style_preset synthesized_caption custom_caption",
    "creative": "out_of_frame poetic_metaphor storytelling temporarium simple_temporarium emotional_sentiment",
    "niche": "time_tags",
    "video": "i2video instruct_i2video i2storyboard_2beat i2storyboard_2beat_wan i2storyboard_3beat",
    "publishing": "alt_text product_listing content_safety",
    "training": "training_caption training_tags",
    "vision": "text_in_image scene_graph",
}
FILES = sorted(LIBRARY.glob("*/*.json"))
PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")

Schema = dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def data(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


@pytest.fixture
def perspective(data: dict[str, Any]) -> Perspective:
    return parse(data)


def objects(schema: Schema) -> list[Schema]:
    return [node for _, node, _ in nodes(schema) if node.get("type") == "object"]


def test_library_contains_the_promised_perspectives() -> None:
    modules: dict[str, set[str]] = {}
    for path in FILES:
        entry = json.loads(path.read_text(encoding="utf-8"))
        assert (entry["module"], entry["name"]) == (path.parent.name, path.stem)
        modules.setdefault(entry["module"], set()).add(entry["name"])
    assert modules == {module: set(names.split()) for module, names in PROMISED.items()}


def test_every_field_has_a_description(perspective: Perspective) -> None:
    for holder in objects(perspective.json_schema):
        for name, field in holder["properties"].items():
            assert len(field.get("description", "")) >= 10, name


def test_template_refers_to_existing_fields(perspective: Perspective) -> None:
    names = PLACEHOLDER.findall(perspective.context_template)
    assert names
    assert set(names) <= set(perspective.json_schema["properties"])


def test_every_choice_offers_unknown(perspective: Perspective) -> None:
    for _, node, _ in nodes(perspective.json_schema):
        assert "unknown" in node.get("enum", ["unknown"]), node


def test_no_field_forces_an_invented_value(perspective: Perspective) -> None:
    """Booleans cannot express unknown, so there are none. Numbers are in lists, which may be empty."""
    for _, node, _ in nodes(perspective.json_schema):
        assert node["type"] != "boolean"
        assert "minItems" not in node
        assert "minLength" not in node
    for field in perspective.json_schema["properties"].values():
        assert field["type"] == "array" or not [n for _, n, _ in nodes(field) if n["type"] in ("number", "integer")]


def test_evidence_precedes_the_verdict(perspective: Perspective) -> None:
    for holder in objects(perspective.json_schema):
        assert "enum" not in next(iter(holder["properties"].values()))


def test_schema_is_small_enough_for_small_models(perspective: Perspective) -> None:
    for path, node, _ in nodes(perspective.json_schema):
        assert path.count("/properties/") <= 3
        assert len(node.get("enum", [])) <= 10
        assert node.get("maxItems", 0) <= 40
    for holder in objects(perspective.json_schema):
        assert set(holder["required"]) == set(holder["properties"])
        assert holder.get("additionalProperties", False) is False
        assert len(holder["properties"]) <= 12


def test_variables_are_used_and_optional(data: dict[str, Any]) -> None:
    """Every shipped perspective works with an image only."""
    variables = data.get("variables", [])
    assert set(PLACEHOLDER.findall(data["prompt"])) == {variable["name"] for variable in variables}
    for variable in variables:
        assert isinstance(variable["default"], str)
        assert variable["description"]


def test_is_listed_and_read_back_without_warning(perspective: Perspective) -> None:
    again = parse(json.loads(json.dumps(perspective.to_wire())))
    assert again.digest == perspective.digest
    assert again.warnings == perspective.warnings == ()


def test_is_filled_and_validated(perspective: Perspective) -> None:
    """A minimal answer is valid, and an answer without one required property is not."""
    answer = instance(perspective.json_schema)
    assert perspective.validator.validate(answer).value == answer
    for name in perspective.json_schema["required"]:
        with pytest.raises(ValidationFailed, match=f"/{name}: The value is missing"):
            perspective.validator.validate({key: value for key, value in answer.items() if key != name})


def test_shipped_settings_list_exactly_the_shipped_modules() -> None:
    settings = WORKSPACE / "config/perspective_settings.json"
    loaded = catalog.load([LIBRARY], settings)
    assert loaded.problems == ()
    assert {each.name for each in loaded.modules() if each.enabled} == set(PROMISED)
    assert set(json.loads(settings.read_text(encoding="utf-8"))["modules"]) == set(PROMISED)
