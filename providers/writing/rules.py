"""Which field is about what: word stems of its name (or, failing that, of its description) -> a topic or a list.

The first rule that matches wins. Alternatives stand between bars; one of several words matches when all of them
occur, in any order. A stem of five letters or more matches how a word begins, a shorter one the whole word.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Final, TypeVar

from providers.writing import items, sentences, topics
from providers.writing.items import Item
from providers.writing.scene import Scene, at
from providers.writing.topics import Topic, fixed, phrases, told, untold

Rule = tuple[str, str]
List = Callable[[Scene], list[Item]]
Found = TypeVar("Found")

_full = (sentences.overview, sentences.light, sentences.colours, sentences.detail)

TOPICS: Final[dict[str, Topic]] = {
    "caption": told(sentences.gist, sentences.colours, sentences.accent, sentences.detail, sentences.placement),
    "overview": told(*_full, sentences.placement, sentences.accent),
    "dense": told(*_full, sentences.placement, sentences.accent, sentences.texture, sentences.taken, sentences.caveat),
    "short": told(sentences.gist),
    "title": topics.title,
    "theme": topics.theme,
    "vibe": topics.vibe,
    "colour": told(sentences.colours, sentences.placement, sentences.accent),
    "light": told(sentences.light, sentences.tones),
    "composition": told(sentences.arrangement, sentences.detail, sentences.balance, sentences.light),
    "texture": told(sentences.texture, sentences.medium),
    "medium": told(sentences.medium, sentences.camera),
    "camera": told(sentences.equipment, sentences.texture),
    "form": told(sentences.colours, sentences.placement, sentences.detail, sentences.balance, sentences.accent),
    "technique": told(sentences.light, sentences.tones, sentences.texture, sentences.camera, sentences.detail),
    "layers": told(sentences.arrangement, sentences.detail, sentences.light),
    "mood": told(sentences.mood, sentences.light, sentences.colours),
    "observation": told(*_full, sentences.placement, sentences.accent, sentences.balance, sentences.texture),
    "notes": told(sentences.caveat, *_full, sentences.texture, sentences.taken),
    "verification": lambda scene, _: [
        "Every entry was measured, none was recognised; a missing one may still be in the picture.",
        sentences.light(scene),
        sentences.colours(scene),
    ],
    "style": phrases(topics.style),
    "avoid": phrases(topics.avoid),
    "poem": topics.poem,
    "story": topics.story,
    "opening": lambda scene, number: topics.story(scene, number)[1:3],
    "turn": lambda scene, number: topics.story(scene, number)[3:4],
    "close": lambda scene, number: topics.story(scene, number)[4:],
    "beat": topics.beat,
    "transition": topics.transition,
    "rest": topics.rest,
    "leads": topics.leads,
    "tension": topics.tension,
    "possibilities": topics.possibilities,
    "outward": told(*_full, topics.beyond, sentences.caveat),
    "move": topics.move,
    "clip": topics.clip,
    "speed": fixed("Slow and small: only camera and light move."),
    "hold": told(sentences.overview, sentences.light, sentences.detail),
    "beyond": told(topics.beyond, sentences.placement),
    "tag": lambda scene, _: [", ".join(item["label"] for item in items.tags(scene)[:12])],
    "faults": lambda scene, _: [", ".join(topics.faults(scene)) or "none measured"],
    "slug": lambda scene, _: [f"{scene.m.palette[0].name}-{scene.m.orientation}".replace(" ", "-")],
    "hex": lambda scene, _: [scene.m.palette[0].hex],
    "aspect": lambda scene, _: [scene.m.aspect],
    "size": lambda scene, _: [scene.size],
    "taken": lambda scene, _: [scene.m.camera.taken_at or "unknown"],
    "place": untold("the place", sentences.placement),
    "setting": untold("the place and the weather", sentences.light, sentences.mood),
    "time": untold("the time it shows", sentences.taken),
    "era": lambda scene, _: [f"Taken {scene.taken} by the camera's clock." if scene.taken else "unknown"],
    "people": untold("who can be seen and how they look"),
    "subject": untold("what it shows", sentences.detail),
    "action": untold("what happens", sentences.detail),
    "text": untold("whether there is writing", sentences.detail),
    "purpose": untold("what it is for"),
    "meaning": untold("what it stands for", sentences.mood),
    "item": untold("what the item is", sentences.colours),
    "condition": untold("the condition of the item"),
    "safety": untold("whether it is harmless"),
    "evidence": lambda scene, _: [
        scene.pick("Not examined: only pixels were measured.", "Not examined; nothing is recognised.")
    ],
    "conflict": untold("what contradicts what"),
    "unknown": fixed("unknown"),
    "cannot": fixed("cannot tell"),
    "empty": fixed(""),
    "language": fixed("und"),
    "contribution": lambda scene, _: [
        "Other captions were not read; what follows was measured in the picture.",
        sentences.overview(scene),
        sentences.light(scene),
        sentences.detail(scene),
    ],
    "unanswered": fixed("Whatever the instructions ask beyond size, colour, light and composition."),
    "questions": lambda scene, _: [
        "What does the picture show?",
        f"What is {at(scene.busiest.place)}, where most of the detail lies?",
        "Where and when was it taken?" if not scene.taken else "Where was it taken?",
    ],
}

# Topics on which measurements have nothing: such a field may be null, left out or an empty list.
UNTOLD: Final = frozenset(
    {"place", "setting", "time", "people", "subject", "action", "text", "purpose", "meaning", "item", "condition"}
    | {"safety", "evidence", "conflict", "unknown", "cannot", "empty", "language", "era"}
)

NAMES: Final[tuple[Rule, ...]] = (
    ("negative|avoid|exclude", "avoid"),
    ("alt text|alt", "short"),
    ("text shown|transcript|marking|ocr|lettering|brand|logo|signature|serial|isbn|barcode|quote", "empty"),
    ("verification|verify", "verification"),
    ("era|decade|century|year|epoch context", "era"),
    ("taken|timestamp|date", "taken"),
    ("extra thought|beyond|offscreen|surrounding", "beyond"),
    ("time|tempor|epoch|histor|season|continuity|period|speculat", "time"),
    ("contribution", "contribution"),
    ("scratchpad|note|reason|rationale|think|integrat|check", "notes"),
    ("unanswer", "unanswered"),
    ("question|unclear", "questions"),
    ("withheld|conflict|contradict|omit", "conflict"),
    ("fault|defect|artifact|artefact|watermark", "faults"),
    ("evidence|violence|nudity|nude|sexual|weapon|harm|hate|nsfw|unsafe|policy|moderat", "evidence"),
    ("safe|safety", "safety"),
    ("hex", "hex"),
    ("slug|filename|file name", "slug"),
    ("aspect", "aspect"),
    ("resolution|dimension|size", "size"),
    ("poem|poetic|haiku|verse|lyric", "poem"),
    ("metaphor|symbol|meaning|interpret|literary|reference|allegor", "meaning"),
    ("title|headline|heading", "title"),
    ("theme", "theme"),
    ("vibe", "vibe"),
    ("final storyboard|final video|wan prompt|video prompt|clip", "clip"),
    ("speed|pace|tempo", "speed"),
    ("camera film|camera make|camera model|exif|lens|equipment", "camera"),
    ("leads", "leads"),
    ("camera|framing|shot|zoom", "move"),
    ("language|locale", "language"),
    ("transition", "transition"),
    ("last image|last frame|final frame", "rest"),
    ("motion|movement|beat|action|sequence|animat", "beat"),
    ("begin|beginning|opening|setup", "opening"),
    ("tension", "tension"),
    ("middle|climax|turn", "turn"),
    ("ending|outcome|wish", "close"),
    ("possibilit|explanation|hypothes", "possibilities"),
    ("narrative element", "people"),
    ("narrative caption", "caption"),
    ("story|narrative|plot|tale", "story"),
    ("unchanged|still|keep", "hold"),
    ("preset|style prompt|light style", "style"),
    ("style element|texture|render|brush|grain|finish|pattern", "texture"),
    ("text|writing|surface|inscription|sign", "text"),
    ("style|genre|aesthetic", "style"),
    ("medium|media", "medium"),
    ("technical|techni", "technique"),
    ("mood|emotion|sentiment|atmosph|feel|feeling|tone|resonan|ambien", "mood"),
    ("light|illumin|bright|expos|shadow|contrast", "light"),
    ("layer|depth|foreground|background", "layers"),
    ("visual element|formal analys", "form"),
    ("compos|layout|balanc|arrange|frame|perspective|symmetr|placement|shape|seed|through", "composition"),
    ("colour|color|palette|hue", "colour"),
    ("short|brief|tagline|simple caption", "short"),
    ("concrete|observ|inventory|insight|point|bullet|fact|finding|feature|attribute|clue", "observation"),
    ("dense|long|detail|full|paragraph", "dense"),
    ("scene setting|weather|scene trait", "setting"),
    ("place|location|where|country|city|landmark|environment", "place"),
    ("wear|condition|damage|state", "condition"),
    ("category|kind|type|class|genus|species", "unknown"),
    ("material|price|item|product|manufacturer|sku", "item"),
    ("purpose|intent|use|audience|role", "purpose"),
    ("expression|cloth|person|people|face|character|pose|gesture|posture|gender|age|name|who", "people"),
    ("subject|object|entity|identif|appearance|main", "subject"),
    ("doing|activity|event|happen", "action"),
    ("tag|keyword|label|hashtag", "tag"),
    ("visible|what you see|visual|analys|scene|content|seen", "overview"),
)

# Read when the name says nothing, as "caption", "summary" and "description" do.
DESCRIPTIONS: Final[tuple[Rule, ...]] = (
    ("bear writing|lettering|letter for letter", "text"),
    ("findings policy|harmful|unsafe", "safety"),
    ("motion first|70 words", "clip"),
    ("of its time|epoch", "time"),
    ("tone of its mood", "mood"),
    ("negative prompt", "avoid"),
    ("leads outward", "outward"),
    ("price|brand", "item"),
)


def _in(*kinds: str) -> List:
    return lambda scene: [item for item in items.tags(scene) if item["category"] in kinds]


def _labels(write: Callable[[Scene], list[str]]) -> List:
    return lambda scene: [{"label": words, "name": words, "sentence": words} for words in write(scene)]


def _steps(scene: Scene) -> list[Item]:
    beats = [topics.beat(scene, number)[0] for number in (1, 2, 3)]
    return [{"number": number, "label": text, "sentence": text} for number, text in enumerate(beats, 1)]


def _nothing(_: Scene) -> list[Item]:
    return []


# Lists by the stems of their names. None: a list of sentences on the topic that the name is about.
LISTS: Final[tuple[tuple[str, List | None], ...]] = (
    ("visual element|technical element|style element|still element|unchanged", None),
    ("key subject|node|region|area|zone|focal|saliency|hotspot|object", items.areas),
    ("palette|colour|color|swatch|hue", items.swatches),
    ("edge|relation|relationship|connection|link", items.relations),
    ("surrounding", items.edges),
    ("metaphor", items.metaphors),
    ("time|date|clue", items.times),
    ("beat|shot|step|sequence|storyboard|scene", _steps),
    ("avoid|negative", _labels(topics.avoid)),
    ("fault|defect|artifact|artefact|watermark", _labels(topics.faults)),
    ("character|people|person|face|figure|block|emotion|moving|integration|instruction|text|line", _nothing),
    ("material|logo|brand|landmark|subject|appearance|clothing|action|setting|ingredient|animal", _nothing),
    ("withheld|conflict|contradict|warning|hazard|violation|risk|flag|categor", _nothing),
    ("tag|keyword|label|inventory|term", items.tags),
    ("attribute|property|properties|fact|spec|metadata|exif|measure", items.facts),
    ("compos|framing|light", _in("composition", "light", "colour")),
    ("style|technique|aesthetic", _labels(topics.style)),
    ("mood|vibe|feel|feeling|tone", _labels(sentences.feelings)),
    ("element|box", items.areas),
)

FACETS: Final[tuple[Rule, ...]] = (
    ("hex|rgb", "hex"),
    ("from|source|start", "from"),
    ("to|target|end", "to"),
    ("relation|predicate|verb", "relation"),
    ("side|direction", "side"),
    ("beyond|outside|may lie", "beyond"),
    ("seen|literal", "seen"),
    ("becomes|metaphor", "becomes"),
    ("allows|span|when", "allows"),
    ("weight", "weight"),
    ("motion|movement", "motion"),
    ("role", "role"),
    ("position|place|location|where|region", "place"),
    ("appearance|look", "appearance"),
    ("colour|color", "colour"),
    ("category|kind|type|class|group", "category"),
    ("value", "value"),
    ("description|sentence|detail|caption|note|reason|evidence|explanation|cue", "sentence"),
    ("clue", "clue"),
    ("share|percent|coverage|proportion", "percent"),
    ("label|name|tag|title|object|element|term|keyword|term|what|property|text|key|area|id", "label"),
)


def find(rules: Sequence[tuple[str, Found]], words: Collection[str]) -> Found | None:
    """What the first matching rule leads to; None when none matches."""
    return next((found for stems, found in rules if matches(stems, words)), None)


def matches(stems: str, words: Collection[str]) -> bool:
    """Whether any of the alternatives occurs in the words."""
    return any(all(_occurs(stem, words) for stem in group.split(" ")) for group in stems.split("|"))


def _occurs(stem: str, words: Collection[str]) -> bool:
    return any(word in (stem, f"{stem}s") or (len(stem) >= 5 and word.startswith(stem)) for word in words)
