"""Fill any portable JSON Schema from a measured picture: objects, lists, texts, numbers, choices."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from providers.errors import RequestRejected
from providers.writing import choices, numbers, sentences, strings
from providers.writing.field import Field
from providers.writing.items import Item, areas, facts, tags
from providers.writing.rules import DESCRIPTIONS, FACETS, LISTS, NAMES, TOPICS, UNTOLD, find, matches
from providers.writing.scene import Scene

Schema = dict[str, Any]
_ALTERNATIVES = frozenset({"title", "theme", "vibe", "poem"})
_WHOLE = frozenset({"dense", "story", "clip", "observation", "notes"})
_SAYS_UNKNOWN = re.compile(r"'(unknown|cannot tell|unclear|undetermined|not visible|und)'")
_EMPTY_IF = re.compile(r"\bempty (?:if|when|string|only)|\bleave (?:it )?empty")
_FIRST_ID = re.compile(r"\b([a-z]{1,8}[-_]?)1\b", re.IGNORECASE)


class Filling:
    """One answer in the making. `guessed` collects the places that had to hold something nobody measured."""

    def __init__(self, scene: Scene | None, blank: str) -> None:
        """`scene` is None when nothing was measured; `blank` is the sentence that then stands in its place."""
        self._scene = scene
        self._blank = blank
        self._ids: dict[str, str] = {}
        self.guessed: list[str] = []

    def value(self, schema: Schema, field: Field, item: Item | None = None) -> Any:
        """A value that fits the schema. Raises RequestRejected naming a field for which there is none."""
        if "const" in schema:
            return schema["const"]
        if "anyOf" in schema:
            return self._branch(schema["anyOf"], field, item)
        if "enum" in schema:
            return self._choice(schema, field, item)
        types = schema.get("type", "string")
        kinds = [types] if isinstance(types, str) else [kind for kind in types if kind != "null"]
        if (
            not kinds
            or kinds == ["null"]
            or (len(kinds) < len(types) and isinstance(types, list) and not self._told(schema, field, item))
        ):
            return None
        return self._writers()[kinds[0]](schema, field, item)

    def _writers(self) -> dict[str, Callable[[Schema, Field, Item | None], Any]]:
        return {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "number": self._number,
            "integer": self._number,
            "boolean": self._boolean,
        }

    def _branch(self, branches: Sequence[Schema], field: Field, item: Item | None) -> Any:
        named = [branch for branch in branches if branch.get("type") != "null"]
        if len(named) < len(branches) and not any(self._told(branch, field, item) for branch in named):
            return None
        refusal: RequestRejected | None = None
        for branch in named or branches:
            try:
                return self.value(branch, field, item)
            except RequestRejected as error:
                refusal = refusal or error
        raise refusal or _impossible(field, "none of its alternatives can be met")

    def _told(self, schema: Schema, field: Field, item: Item | None) -> bool:
        """Whether measurements have something to say here; otherwise it may be null or left out."""
        kind = schema.get("type", "string")
        kind = next((word for word in kind if word != "null"), "null") if isinstance(kind, list) else kind
        if "anyOf" in schema:
            return any(self._told(branch, field, item) for branch in schema["anyOf"])
        if "const" in schema or kind in ("array", "object"):
            return True
        if self._scene is None:
            return kind == "string" and "enum" not in schema
        if "enum" in schema:
            return choices.measured(schema["enum"], field, self._scene.m, _texts(item)) is not None
        if kind == "boolean":
            return choices.flag(field, self._scene.m) is not None
        if kind in ("number", "integer"):
            return self._measure(schema, field, item) is not None
        return item is not None or self._topic(field) not in UNTOLD

    def _object(self, schema: Schema, field: Field, item: Item | None) -> dict[str, Any]:
        properties: dict[str, Schema] = schema.get("properties", {})
        required = schema.get("required", ())
        if not properties:
            return self._open(schema, field)
        filled = {}
        for name, inner in properties.items():
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
        found = [fact for fact in facts(self._scene)[:6]]
        return {
            fact["name"]: self.value(inner, field.member(fact["name"], inner), {**fact, "label": fact["value"]})
            for fact in found
        }

    def _array(self, schema: Schema, field: Field, item: Item | None) -> list[Any]:
        inner = schema.get("items") or {"type": "string"}
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if item and (row := _row(item, field)):
            return [self._scaled(share, inner, field) for share in row][:most]
        usual = max(least, min(field.items or 12, 12 if most is None else most))
        values: list[Any] = []
        for number, one in enumerate(self._things(inner, field, item)):
            if len(values) < usual:
                values.append(self.value(inner, field.element(number, inner), one))
        if schema.get("uniqueItems"):
            values = _distinct(values)
        return self._grown(values, inner, field, least, unique=bool(schema.get("uniqueItems")))

    def _grown(self, values: list[Any], inner: Schema, field: Field, least: int, *, unique: bool) -> list[Any]:
        """At least so many: areas of the picture, then more of the same told apart."""
        spare = iter(areas(self._scene) if self._scene and len(values) < least else ())
        while len(values) < least and not unique:
            number = len(values)
            values.append(self.value(inner, field.element(number, inner), next(spare, {"number": number + 1})))
        if len(values) < least:
            seen = {_key(value) for value in values}
            first = values[0] if values else self.value(inner, field.element(0, inner), next(spare, None))
            for value in (first, *self._variants(first, inner, least)):
                if len(values) < least and _key(value) not in seen:
                    seen.add(_key(value))
                    values.append(value)
        if len(values) < least:
            raise _impossible(field, f"it does not allow {least} different items")
        return values

    def _variants(self, value: Any, schema: Schema, count: int) -> Iterator[Any]:
        """Other values that the schema allows."""
        if "anyOf" in schema:
            for branch in schema["anyOf"]:
                yield from self._variants(self.value(branch, Field(), None), branch, count)
        elif "enum" in schema:
            yield from schema["enum"]
        elif "const" not in schema:
            types = schema.get("type", "string")
            if isinstance(types, list) and "null" in types:
                yield None
            yield from self._variants_of_type(value, schema, count)

    def _variants_of_type(self, value: Any, schema: Schema, count: int) -> Iterator[Any]:
        if isinstance(value, bool):
            yield from (not value, value)
        elif isinstance(value, int | float):
            whole = "integer" in schema.get("type", ())
            yield from numbers.nearby(value, schema, whole=whole, count=count + 1)
        elif isinstance(value, str) and "format" not in schema:
            found = (strings.variant(value, number, schema) for number in range(2, count + 3))
            yield from (text for text in found if text is not None)
        elif isinstance(value, list):
            inner = schema.get("items") or {"type": "string"}
            for one in self._variants(value[0], inner, count) if value else ():
                yield [one, *value[1:]]
        elif isinstance(value, dict):
            for name, inner in schema.get("properties", {}).items():
                for one in self._variants(value[name], inner, count) if name in value else ():
                    yield {**value, name: one}

    def _things(self, inner: Schema, field: Field, item: Item | None) -> Sequence[Item]:
        """What a list of that name lists."""
        if self._scene is None:
            return ()
        if item and matches("attribute|propert|qualit|trait|tag", field.words) and item.get("attributes"):
            return [{"label": words, "sentence": words} for words in item["attributes"]]
        kind = inner.get("type", "string")
        scene = self._scene.of(field.path)
        listing = find(LISTS, field.words) if kind in ("object", "string") else None
        if "enum" in inner:
            return self._named(inner["enum"], field)
        if listing:
            return self._known(listing(scene))
        if kind != "string":
            return ()
        topic = self._topic(field, "")
        said = TOPICS[topic](scene, field.step) if topic and topic not in UNTOLD else []
        return [{"label": sentence, "sentence": sentence, "said": True} for sentence in said]

    def _named(self, offered: Sequence[Any], field: Field) -> Sequence[Item]:
        """Of the choices of a list those that were measured, each as the item that leads to it."""
        assert self._scene is not None
        words = {choices.plain(choice) for choice in offered}
        found = [item for item in tags(self._scene) if choices.plain(item["label"]) in words]
        colours = [{"label": one.family} for one in self._scene.m.palette if one.family in words]
        return _distinct([*found, *(colours if matches("colour|color|palette|hue", field.words) else ())])

    def _known(self, listed: list[Item]) -> list[Item]:
        """Without relations to areas that an earlier list had no room for."""
        ends = ("from", "to") if self._ids else ()
        return [item for item in listed if all(item[end]["label"] in self._ids for end in ends if end in item)]

    def _choice(self, schema: Schema, field: Field, item: Item | None) -> Any:
        offered = [choice for choice in schema["enum"] if _fits(choice, schema)]
        if not offered:
            raise _impossible(field, "no value of its enum fits its other rules")
        if self._scene is not None:
            found = choices.measured(offered, field, self._scene.m, _texts(item, self._facet(field)))
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
        whole = schema["type"] == "integer" or "integer" in schema["type"]
        wanted = self._measure(schema, field, item)
        if wanted is None:
            wanted = numbers.middle(schema)
            if matches("confidence|certainty|probability|likelihood", field.words):
                wanted = numbers.stretched(0, schema, whole=whole)
            self.guessed.append(field.path)
        found = numbers.fitted(round(wanted) if whole else round(wanted, 4), schema, whole=whole)
        if found is None:
            raise _impossible(field, "its bounds leave no number")
        return found

    def _measure(self, schema: Schema, field: Field, item: Item | None) -> float | None:
        """The measured number for a field; None when it asks for something else."""
        whole = "integer" in schema.get("type", ())
        if item is not None and (share := _share(item, field)) is not None:
            return (
                self._in_pixels(share, field)
                if _in_pixels(schema, field)
                else numbers.stretched(share, schema, whole=whole)
            )
        if self._scene is None:
            return None
        share_of, quantity_of = (find(table, field.words) for table in (numbers.SHARES, numbers.QUANTITIES))
        share = share_of(self._scene.m) if share_of else None
        if share is not None:
            return numbers.stretched(share, schema, whole=whole)
        return quantity_of(self._scene.m) if quantity_of else None

    def _in_pixels(self, share: float, field: Field) -> float:
        assert self._scene is not None
        across = matches("x|left|right|width|w|x1|x2|xmin|xmax", field.words)
        return share * (self._scene.m.width if across else self._scene.m.height)

    def _scaled(self, share: float, schema: Schema, field: Field) -> int | float:
        whole = "integer" in schema.get("type", ())
        wanted = numbers.stretched(share, schema, whole=whole)
        found = numbers.fitted(round(wanted) if whole else round(wanted, 4), schema, whole=whole)
        if found is None:
            raise _impossible(field, "its bounds leave no number")
        return found

    def _string(self, schema: Schema, field: Field, item: Item | None) -> str:
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if "format" in schema:
            return self._formatted(schema, field)
        text = self._text(field, item, most)
        if len(text) < least:
            more = sentences.everything(self._scene) if self._scene else iter([self._blank])
            text = strings.lengthened(text, least, most, more)
        text = strings.cut(text, most)
        if "pattern" not in schema:
            return text
        others = [str(one) for one in (*_texts(item), *self._short_texts())]
        found = strings.patterned(text, schema, others)
        if found is None:
            raise _impossible(field, f"no text was found for its pattern {strings.quoted(schema['pattern'])}")
        return found

    def _formatted(self, schema: Schema, field: Field) -> str:
        moment = self._scene.m.camera.taken_at if self._scene else ""
        text = strings.formatted(schema["format"], self._text(field, None, None), moment)
        if not moment or schema["format"] not in ("date", "time", "date-time"):
            self.guessed.append(field.path)
        if not strings.holds(text, schema):
            raise _impossible(field, "its format does not go with its length or pattern")
        return text

    def _short_texts(self) -> list[str]:
        scene = self._scene
        if scene is None:
            return []
        return [
            *(one.hex for one in scene.m.palette[:1]),
            scene.size.replace(" × ", "x"),
            *(item["label"] for item in tags(scene)),
        ]

    def _text(self, field: Field, item: Item | None, most: int | None) -> str:
        """The words for a field, before its pattern is looked at."""
        if self._scene is None:
            return strings.joined([self._blank], field, most, 1)
        if item is not None and (found := self._of_item(field, item)) is not None:
            return strings.cut(found, most)
        topic = self._topic(field)
        if topic in UNTOLD:
            says = _SAYS_UNKNOWN.search(field.description.lower())
            if says:
                return says[1]
            if _EMPTY_IF.search(field.description.lower()):
                return ""
        said = TOPICS[topic](self._scene.of(field.path), field.step)
        if topic in _ALTERNATIVES:
            return strings.first_fitting(said, field, most)
        return strings.joined(said, field, most, 8 if topic in _WHOLE else 3)

    def _topic(self, field: Field, otherwise: str = "caption") -> str:
        """What a field is about."""
        return find(NAMES, field.words) or find(DESCRIPTIONS, field.description_words) or otherwise

    def _facet(self, field: Field) -> str | None:
        return find(FACETS, field.words)

    def _of_item(self, field: Field, item: Item) -> str | None:
        """What an item says to a field; None when it says nothing and the picture as a whole has to."""
        if field.parent and field.parent.name == field.name:
            return str(item.get("label", "")) or None
        facet = self._facet(field)
        if field.words[-1:] == ("id",) and "number" in item:
            return self._identified(field, item)
        if facet in ("from", "to") and facet in item:
            label = item[facet]["label"]
            return self._ids.get(label, label)
        if facet == "relation" and facet in item and "_" in field.description:
            return str(item[facet]).replace(" ", "_")
        if facet == "category" and facet in item:
            return _category(item[facet], field)
        if facet in item:
            return str(item[facet])
        says = _SAYS_UNKNOWN.search(field.description.lower())
        return says[1] if says else item.get("sentence")

    def _identified(self, field: Field, item: Item) -> str:
        prefix = _FIRST_ID.search(field.description)
        self._ids[item.get("label", "")] = f"{prefix[1] if prefix else 'n'}{item['number']}"
        return self._ids[item.get("label", "")]


def _texts(item: Item | None, facet: str | None = None) -> list[str]:
    """What an item offers as a choice: the facet asked for, then the others."""
    if item is None:
        return []
    found = [item.get(name) for name in (facet, "relation", "category", "role", "family", "place", "label")]
    return [one for one in found if isinstance(one, str)]


def _category(kind: str, field: Field) -> str:
    """The item's kind, or "other" where the description lists kinds and this is not among them."""
    listed = field.description_words
    return "other" if kind not in listed and "other" in listed else kind


def _share(item: Item, field: Field) -> float | None:
    if matches("confidence|certainty|probability|score", field.words):
        return item.get("confidence")
    if matches("share|percent|percentage|coverage|proportion|area|weight", field.words):
        return item.get("share")
    box = item.get("box")
    if box is None:
        return None
    inside = field.parent is not None and matches("box|bbox|bounds|bounding|rect|region", field.parent.words)
    corner = find(_CORNERS, field.words)
    if corner is not None:
        return float(box[corner - 1])
    start = find(_STARTS, field.words) if inside or "box" in field.words else None
    return None if start is None else float((box[0], box[1], box[2] - box[0], box[3] - box[1])[start - 1])


# One-based: a table's answer must not be false.
_CORNERS = (
    ("left|x min|xmin|x1|x0", 1),
    ("top|y min|ymin|y1|y0", 2),
    ("right|x max|xmax|x2", 3),
    ("bottom|y max|ymax|y2", 4),
)
_STARTS = (("x", 1), ("y", 2), ("width|w", 3), ("height|h", 4))


def _in_pixels(schema: Schema, field: Field) -> bool:
    return "pixel" in " ".join(field.description_words) and "maximum" not in schema


def _row(item: Item, field: Field) -> Sequence[float] | None:
    """Numbers of an item that stand in a list: its box, its colour."""
    if matches("box|bbox|bounds|bounding|rect|coordinate|position", field.words):
        return item.get("box")
    if matches("rgb|colour|color", field.words) and "rgb" in item:
        return [band / 255 for band in item["rgb"]]
    return None


def _fits(choice: Any, schema: Schema) -> bool:
    if isinstance(choice, str):
        return strings.holds(choice, schema)
    return isinstance(choice, bool) or choice is None or numbers.holds(choice, schema)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _distinct(values: Sequence[Any]) -> list[Any]:
    return list({_key(value): value for value in values}.values())


def _impossible(field: Field, why: str) -> RequestRejected:
    return RequestRejected(
        f"The builtin provider cannot fill the {field.label}: {why}. Choose a vision model, or change the schema."
    )
