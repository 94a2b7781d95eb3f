"""Fill any portable JSON Schema from a measured picture: objects, lists, texts, numbers, choices."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from providers.errors import RequestRejected
from providers.writing import choices, numbers, shares, strings
from providers.writing.field import Field
from providers.writing.items import Item, areas, facts, tags
from providers.writing.rules import LISTS, TOPICS, UNTOLD, find, matches
from providers.writing.scene import Scene
from providers.writing.texts import Texts, facet, topic
from providers.writing.variants import distinct, fits, key, variants

Schema = dict[str, Any]
_USUAL: Final = 12  # elements of a list that sets no limit itself
_WRITTEN: Final = 40  # elements that are written before they repeat
_MANY: Final = 2_000  # places in an answer from which on lists repeat their first element
_CERTAINTY: Final = "confidence|certainty|probability|likelihood"
_COLOURS: Final = "colour|color|palette|hue"


class Filling:
    """One answer in the making. `guessed` collects the places that had to hold something nobody measured."""

    def __init__(self, scene: Scene | None, blank: str) -> None:
        """`scene` is None when nothing was measured; `blank` is the sentence that then stands in its place."""
        self._scene = scene
        self._texts = Texts(scene, blank)
        self._places = 0
        self.guessed: list[str] = []
        self._writers: dict[str, Callable[[Schema, Field, Item | None], Any]] = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
            "boolean": self._boolean,
        }

    def value(self, schema: Schema, field: Field, item: Item | None = None) -> Any:
        """A value that fits the schema. Raises RequestRejected naming a field for which there is none."""
        self._places += 1
        if "const" in schema:
            return schema["const"]
        if "anyOf" in schema:
            return self._branch(schema["anyOf"], field, item)
        if "enum" in schema:
            return self._choice(schema, field, item)
        kind, nullable = _kind(schema)
        if kind == "null" or (nullable and not self._told(schema, field, item)):
            return None
        return self._writers[kind](schema, field, item)

    def _told(self, schema: Schema, field: Field, item: Item | None) -> bool:
        """Whether measurements have something to say here; otherwise it may be null or left out."""
        if "anyOf" in schema:
            return any(self._told(branch, field, item) for branch in schema["anyOf"])
        kind, _ = _kind(schema)
        if kind == "null" or "const" in schema or kind in ("array", "object"):
            return kind != "null"
        if self._scene is None:
            return kind == "string" and "enum" not in schema and "format" not in schema
        if "enum" in schema:
            return choices.measured(schema["enum"], field, self._scene.m, _offers(item)) is not None
        if kind == "boolean":
            return choices.flag(field, self._scene.m) is not None
        if kind in ("number", "integer"):
            return self._measure(schema, field, item) is not None
        if "format" in schema:
            return strings.dated(schema["format"], self._scene.m.camera.taken_at) is not None
        return item is not None or topic(field) not in UNTOLD

    def _branch(self, branches: Sequence[Schema], field: Field, item: Item | None) -> Any:
        named = [branch for branch in branches if _kind(branch)[0] != "null"]
        if len(named) < len(branches) and not any(self._told(branch, field, item) for branch in named):
            return None
        refusals = []
        for branch in sorted(named, key=lambda one: not self._told(one, field, item)):
            try:
                return self.value(branch, field, item)
            except RequestRejected as refusal:
                refusals.append(refusal)
        if len(named) < len(branches):
            return None
        raise refusals[0]

    def _object(self, schema: Schema, field: Field, item: Item | None) -> dict[str, Any]:
        if not schema.get("properties"):
            return self._open(schema, field)
        required, filled = schema.get("required", ()), {}
        for name, inner in schema["properties"].items():
            member = field.member(name, inner)
            if name in required or self._told(inner, member, item):
                filled[name] = self.value(inner, member, item)
        return filled

    def _open(self, schema: Schema, field: Field) -> dict[str, Any]:
        """An object without properties of its own: the facts, where it takes any."""
        others = schema.get("additionalProperties", True)
        if others is False or self._scene is None:
            return {}
        inner = {"type": "string"} if others is True else others
        pairs = [(fact["name"], {**fact, "label": fact["value"]}) for fact in facts(self._scene)[:6]]
        return {name: self.value(inner, field.element(name, inner), fact) for name, fact in pairs}

    def _array(self, schema: Schema, field: Field, item: Item | None) -> list[Any]:
        inner = schema.get("items") or {"type": "string"}
        least, most = schema.get("minItems", 0), schema.get("maxItems", _USUAL)
        row = shares.row(item, field) if item and _scaled(inner) else None
        if row and least <= len(row) <= schema.get("maxItems", len(row)):
            return [self._stretched(share, inner, field) for share in row]
        usual = max(least, min(field.items or _USUAL, most))
        listed = self._things(inner, field, item)[:usual]
        values = [self.value(inner, field.element(number, inner), one) for number, one in enumerate(listed)]
        if schema.get("uniqueItems"):
            return self._distinct(distinct(values), inner, field, least)
        return self._grown(values, inner, field, least)

    def _grown(self, values: list[Any], inner: Schema, field: Field, least: int) -> list[Any]:
        """At least so many: areas of the picture for those that are missing, and in the end the same ones again."""
        most = _WRITTEN if self._places < _MANY else max(1, len(values))
        missing = range(len(values), min(least, most))
        spare = iter(areas(self._scene) if self._scene and missing else ())
        written = values + [self.value(inner, field.element(at, inner), next(spare, None)) for at in missing]
        return written + [written[at % len(written)] for at in range(len(written), least)]

    def _distinct(self, values: list[Any], inner: Schema, field: Field, least: int) -> list[Any]:
        """At least so many, none twice."""
        if len(values) >= least:
            return values
        values = values or [self.value(inner, field.element(0, inner), None)]
        seen = {key(value) for value in values}
        for other in variants(values[0], inner, least, lambda schema: self.value(schema, field.element(0, schema))):
            if len(values) >= least:
                return values
            if key(other) not in seen:
                seen.add(key(other))
                values.append(other)
        if len(values) >= least:
            return values
        raise impossible(field, f"{least} different items are not allowed by the schema of its items")

    def _things(self, inner: Schema, field: Field, item: Item | None) -> Sequence[Item]:
        """What a list of that name lists."""
        if self._scene is None:
            return ()
        if item and "attributes" in item and matches("attribute|property|properties|quality|trait|tag", field.words):
            return [{"label": words, "sentence": words} for words in item["attributes"]]
        if "enum" in inner:
            return self._named(inner["enum"], field)
        kind, _ = _kind(inner)
        scene = self._scene.of(field.path)
        listing = find(LISTS, field.words) if kind in ("object", "string") else None
        if listing:
            return self._known(listing(scene))
        about = topic(field, "empty")
        if kind != "string" or about in UNTOLD:
            return ()
        return [{"label": sentence, "sentence": sentence} for sentence in TOPICS[about](scene, field.step)]

    def _named(self, offered: Sequence[Any], field: Field) -> Sequence[Item]:
        """Of the choices of a list those that were measured, each as the item that leads to it."""
        assert self._scene is not None
        words = {choices.plain(choice) for choice in offered}
        labels = [item["label"] for item in tags(self._scene)]
        if matches(_COLOURS, field.words):
            labels += [swatch.family for swatch in self._scene.m.palette]
        return [{"label": label} for label in distinct(labels) if choices.plain(label) in words]

    def _known(self, listed: list[Item]) -> list[Item]:
        """Without relations to areas that an earlier list had no room for."""
        known = self._texts.ids
        return [
            item
            for item in listed
            if not known or "from" not in item or {item["from"]["label"], item["to"]["label"]} <= set(known)
        ]

    def _choice(self, schema: Schema, field: Field, item: Item | None) -> Any:
        offered = [choice for choice in schema["enum"] if fits(choice, schema)]
        if not offered:
            raise impossible(field, "no value of its enum fits its other rules")
        if self._scene is not None:
            found = choices.measured(offered, field, self._scene.m, _offers(item, facet(field)))
            if found is not None:
                return found
        chosen, says_unknown = choices.unknown(offered)
        if not says_unknown and len(offered) > 1:
            self.guessed.append(field.path)
        return chosen

    def _boolean(self, schema: Schema, field: Field, item: Item | None) -> bool:
        found = choices.flag(field, self._scene.m) if self._scene else None
        if found is None:
            self.guessed.append(field.path)
        return choices.suspicion(field) if found is None else found

    def _number(self, schema: Schema, field: Field, item: Item | None) -> int | float:
        wanted = self._measure(schema, field, item)
        if wanted is None:
            self.guessed.append(field.path)
            sure = matches(_CERTAINTY, field.words)
            wanted = numbers.stretched(0, schema, whole=_whole(schema)) if sure else numbers.middle(schema)
        return _fitted(wanted, schema, field)

    def _measure(self, schema: Schema, field: Field, item: Item | None) -> float | None:
        """The measured number for a field; None when it asks for something else."""
        if item is not None and (share := shares.share(item, field)) is not None:
            side = self._side(field) if shares.in_pixels(schema, field) else None
            return share * side if side else numbers.stretched(share, schema, whole=_whole(schema))
        if self._scene is None:
            return None
        share_of = find(numbers.SHARES, field.words)
        share = share_of(self._scene.m) if share_of else None
        if share is not None:
            return numbers.stretched(share, schema, whole=_whole(schema))
        quantity_of = find(numbers.QUANTITIES, field.words)
        return quantity_of(self._scene.m) if quantity_of else None

    def _side(self, field: Field) -> int | None:
        if self._scene is None:
            return None
        return self._scene.m.width if shares.across(field) else self._scene.m.height

    def _stretched(self, share: float, schema: Schema, field: Field) -> int | float:
        return _fitted(numbers.stretched(share, schema, whole=_whole(schema)), schema, field)

    def _string(self, schema: Schema, field: Field, item: Item | None) -> str:
        if "format" in schema:
            return self._formatted(schema, field)
        found = self._texts.fitting(schema, field, item)
        if found is None:
            raise impossible(field, f"no text was found for its pattern {strings.quoted(schema['pattern'])}")
        return found

    def _formatted(self, schema: Schema, field: Field) -> str:
        moment = self._scene.m.camera.taken_at if self._scene else ""
        text = strings.dated(schema["format"], moment)
        if text is None:
            self.guessed.append(field.path)
            text = strings.formatted(schema["format"], schema.get("minLength", 0))
        if text is None or not strings.holds(text, schema):
            raise impossible(field, f"no text was found for its format {strings.quoted(schema['format'])}")
        return text


def impossible(field: Field, why: str) -> RequestRejected:
    """The refusal of a field that cannot be filled."""
    where = f"field '{field.path}'" if field.path else "answer"
    return RequestRejected(
        f"The builtin provider cannot fill the {where}: {why}. Choose a vision model or change the schema."
    )


def _kind(schema: Schema) -> tuple[str, bool]:
    """The one type of a place, and whether it may also be null; anything at all is taken as text."""
    stated = schema.get("type", "string")
    types = [stated] if isinstance(stated, str) else stated
    return next((kind for kind in types if kind != "null"), "null"), "null" in types


def _scaled(schema: Schema) -> bool:
    """Whether any number within bounds is taken."""
    return _kind(schema)[0] in ("number", "integer") and not {"enum", "const", "anyOf"} & set(schema)


def _whole(schema: Schema) -> bool:
    return _kind(schema)[0] == "integer"


def _fitted(wanted: float, schema: Schema, field: Field) -> int | float:
    whole = _whole(schema)
    found = numbers.fitted(round(wanted) if whole else round(wanted, 4), schema, whole=whole)
    if found is None:
        raise impossible(field, "its bounds leave no number")
    return found


def _offers(item: Item | None, wanted: str = "") -> list[str]:
    """What an item offers to choose by: the facet that the field asks for, then the others."""
    found = (
        [item.get(name) for name in (wanted, "relation", "category", "role", "family", "place", "label")]
        if item
        else []
    )
    return [one for one in found if isinstance(one, str)]
