"""The words for one field: from the item that its list is at, else from what its name says it is about."""

import re
from typing import Any, Final

from providers.writing import sentences, strings
from providers.writing.field import Field
from providers.writing.items import Item, tags
from providers.writing.rules import DESCRIPTIONS, FACETS, NAMES, TOPICS, UNTOLD, find
from providers.writing.scene import Scene

_ALTERNATIVES: Final = frozenset({"title", "theme", "vibe", "poem"})  # topics that give versions, not sentences
_WHOLE: Final = frozenset({"dense", "story", "clip", "observation", "notes", "outward"})
_SAYS_UNKNOWN: Final = re.compile(r"'(unknown|cannot tell|unclear|undetermined|not visible|und)'")
_EMPTY_IF: Final = re.compile(r"\bempty (?:if|when|string|only)|\bleave (?:it )?empty")
_FIRST_ID: Final = re.compile(r"\b([a-z]{1,8}[-_]?)1\b", re.IGNORECASE)


def topic(field: Field, otherwise: str = "caption") -> str:
    """What a field is about: the key of a topic."""
    return find(NAMES, field.words) or find(DESCRIPTIONS, field.description_words) or otherwise


def facet(field: Field) -> str:
    """Which facet of an item a field asks for; empty when its name does not say."""
    return find(FACETS, field.words) or ""


class Texts:
    """Writes texts for one answer. It remembers the ids that it gave, so that relations can name them."""

    def __init__(self, scene: Scene | None, blank: str) -> None:
        """`scene` is None when nothing was measured; `blank` is then what every text says."""
        self._scene = scene
        self._blank = blank
        self.ids: dict[str, str] = {}

    def plain(self, field: Field, item: Item | None, limit: int | None) -> str:
        """The words for a field within a length."""
        if self._scene is None:
            return strings.joined([self._blank], field, limit, 1)
        if item is not None and (found := self._of_item(field, item)):
            return strings.cut(found, limit)
        about = topic(field)
        if about in UNTOLD and (says := _evasion(field)) is not None:
            return strings.cut(says, limit)
        said = TOPICS[about](self._scene.of(field.path), field.step)
        if about in _ALTERNATIVES:
            return strings.first_fitting(said, field, limit)
        return strings.joined(said, field, limit, 8 if about in _WHOLE else 3)

    def fitting(self, schema: dict[str, Any], field: Field, item: Item | None) -> str | None:
        """The words within lengths and pattern; None when nothing was found that the pattern takes."""
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        text = self.plain(field, item, most)
        if len(text) < least:
            more = sentences.everything(self._scene) if self._scene else iter([self._blank])
            text = strings.lengthened(text, least, most, more)
        if "pattern" not in schema:
            return text
        return strings.patterned(text, schema, self._short())

    def _short(self) -> list[str]:
        scene = self._scene
        if scene is None:
            return []
        return [scene.m.palette[0].hex, scene.size.replace(" × ", "x"), *(item["label"] for item in tags(scene))]

    def _of_item(self, field: Field, item: Item) -> str:
        """What an item says to a field; empty when the picture as a whole has to."""
        if field.listed:
            return str(item.get("phrase") or item.get("label", ""))
        wanted = facet(field)
        if field.words[-1:] == ("id",) and "number" in item:
            return self._identified(field, item)
        if wanted in ("from", "to") and wanted in item:
            label = str(item[wanted]["label"])
            return self.ids.get(label, label)
        if wanted not in item:
            return _evasion(field) or str(item.get("sentence", ""))
        found = str(item[wanted])
        if wanted == "relation" and "_" in field.description:
            return found.replace(" ", "_")
        if wanted == "category" and "other" in field.description_words and found not in field.description_words:
            return "other"
        return found

    def _identified(self, field: Field, item: Item) -> str:
        prefix = _FIRST_ID.search(field.description)
        name = f"{prefix[1] if prefix else 'n'}{item['number']}"
        self.ids[item.get("label", "")] = name
        return name


def _evasion(field: Field) -> str | None:
    """The words that the description itself offers for what cannot be told; None when it offers none."""
    description = field.description.lower()
    says = _SAYS_UNKNOWN.search(description)
    if says:
        return says[1]
    return "" if _EMPTY_IF.search(description) else None
