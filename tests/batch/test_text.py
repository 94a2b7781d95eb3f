"""Texts for trainers, read back as each trainer's loader reads a sidecar."""

import json
import random
import re
from pathlib import Path

import pytest

from bridge.batch.folder import BatchError
from bridge.batch.options import TextOptions
from bridge.batch.text import TRAINERS, TextWriter, limit_warning
from perspectives import Perspective, catalog, parse

LIBRARY = catalog.load([catalog.LIBRARY])
CAPTION = LIBRARY.get("training_caption")
TEXT = {"type": "string"}
SCENE = parse(
    {
        "name": "scene",
        "prompt": "Describe.",
        "context_template": "{kind}: {title}",
        "json_schema": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": ["photo", "drawing"]},
                "title": TEXT,
                "tags": {"type": "array", "items": TEXT},
                "light": {"type": "object", "properties": {"from": TEXT}},
                "objects": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"label": TEXT, "colour": TEXT}},
                },
            },
        },
    }
)
ANSWER = {
    "kind": "photo",
    "title": "A woman\nin a red_hat,\r\nsmiling",
    "tags": ["1girl", "long, wavy hair", "red_hat", "^_^", "Watermark", "smile"],
    "light": {"from": "left"},
    "objects": [{"label": "hat", "colour": "red"}, {"label": "bench", "colour": "green"}],
}


def kohya(path: Path) -> list[str]:
    """The captions that sd-scripts can choose with enable_wildcard: one per line, wildcards resolved."""
    lines = [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    escaped = [line.replace("{{", "⦅").replace("}}", "⦆") for line in lines]
    chosen = [re.sub(r"\{([^}]+)\}", lambda match: random.choice(match[1].split("|")), line) for line in escaped]
    return [line.replace("⦅", "{").replace("⦆", "}") for line in chosen]


def kohya_tags(path: Path) -> list[str]:
    """The tags that sd-scripts shuffles, with the separators of its documentation set."""
    fixed, *rest = kohya(path)[0].split("|||")
    return [tag.strip() for part in (fixed, *rest) for tag in part.replace(";;;", ",").split(",") if tag.strip()]


def ai_toolkit(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8").replace("\n", ", ").replace("\r", ", ")
    return [", ".join(part.strip() for part in text.split(",") if part.strip())]


def onetrainer(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


READERS = {"kohya": kohya, "ai-toolkit": ai_toolkit, "onetrainer": onetrainer}


def write(answer: dict[str, object], perspective: Perspective = SCENE, **options: object) -> str:
    return TextWriter(TextOptions(**options), perspective).write(answer)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "photo: A woman in a red_hat, smiling"),
        (
            {"template": "{title}. {tags}"},
            "A woman in a red_hat, smiling. 1girl, long, wavy hair, red_hat, ^_^, Watermark, smile",
        ),
        ({"template": "{objects[*].label} | {objects[0].colour} | {light.from}"}, "hat, bench | red | left"),
        ({"template": "{tags[0]} {a|b} {not one}"}, "1girl {a|b} {not one}"),
        ({"template": "{tags}", "trainer": "kohya"}, "1girl, long wavy hair, red hat, ^_^, Watermark, smile"),
        ({"template": "{tags}", "trainer": "kohya", "max_tags": 2}, "1girl, long wavy hair"),
        ({"template": "{tags}", "drop_tags": ("watermark", "Red Hat"), "max_tags": 3}, "1girl, long, wavy hair, ^_^"),
        ({"drop_tags": ("smiling",)}, "photo: A woman in a red_hat"),
        ({"replace": (("woman", "ohwx"), ("red_", "blue "))}, "photo: A ohwx in a blue hat, smiling"),
        ({"template": "{kind}", "prefix": "ohwx, ", "suffix": ", film grain"}, "ohwx, photo, film grain"),
        ({"template": "{kind}", "prefix": "a ", "trigger": "ohwx"}, "ohwx, a photo"),
        ({"template": "{kind}", "prefix": "ohwx, a ", "trigger": "ohwx"}, "ohwx, a photo"),
        ({"template": "{kind}", "trigger": "photo"}, "photo"),
        ({"template": "{kind}", "trigger": "pho"}, "pho, photo"),
        ({"template": "{light.from}", "drop_tags": ("left",), "trigger": "ohwx"}, "ohwx"),
    ],
)
def test_options_shape_the_text(options: dict[str, object], text: str) -> None:
    assert write(ANSWER, **options) == text


@pytest.mark.parametrize("trainer", sorted(TRAINERS))
def test_every_caption_is_one_and_holds_the_trigger_word(trainer: str, tmp_path: Path) -> None:
    """200 answers with line breaks, separators, controls and empty texts: the trainer reads one caption from each."""
    pieces = ["\n", "\r\n", "\u2028", "\x85", "\x0b", "|||", ";;;", "\ufeff", "\0", "\x1b[2J", "日本", "man", ", ", ""]
    source = random.Random(7)
    for number in range(200):
        text = "".join(source.choices(pieces, k=number % 9))
        answer = {**ANSWER, "title": text, "tags": [text, "red_hat"]}
        options = {"template": "{title}, {tags}" if number % 2 else "json", "trainer": trainer, "trigger": "ohwx"}
        sidecar = tmp_path / f"{number}.txt"
        sidecar.write_text(write(answer, **options), encoding="utf-8")
        raw = sidecar.read_bytes()
        assert raw
        assert not raw.startswith(b"\xef\xbb\xbf")
        for captions in [reader(sidecar) for reader in READERS.values()] if number % 2 else [onetrainer(sidecar)]:
            assert len(captions) == 1
            assert "ohwx" in captions[0]
        if number % 2:
            assert kohya_tags(sidecar)[0] == "ohwx" or trainer != "kohya"
        else:
            assert json.loads(ai_toolkit(sidecar)[0])["title"].startswith("ohwx")


def test_json_stays_json_and_keeps_its_order() -> None:
    text = write(ANSWER, template="json", trainer="ai-toolkit", trigger="ohwx", drop_tags=("watermark",))
    assert json.loads(text) == {
        **ANSWER,
        "title": "ohwx, A woman in a red_hat, smiling",
        "tags": ["1girl", "long, wavy hair", "red_hat", "^_^", "smile"],
    }
    assert list(json.loads(text)) == list(ANSWER)
    assert json.loads(write({"tags": []}, template="json", prefix="ohwx")) == {"title": "ohwx", "tags": []}
    assert json.loads(write({"tags": ["a\nb"]}, template="json")) == {"tags": ["a\nb"]}


def test_braces_survive_wildcards_on_request(tmp_path: Path) -> None:
    sidecar = tmp_path / "a.txt"
    replace = (("{", "{{"), ("}", "}}"))
    sidecar.write_text(write({"kind": "photo", "title": "a {b|c} d"}, trainer="kohya", replace=replace), "utf-8")
    assert kohya(sidecar) == ["photo: a {b|c} d"]


@pytest.mark.parametrize(
    ("options", "perspective", "message"),
    [
        ({"template": "{captoin}"}, CAPTION, r"'captoin' is not a field \(--template\)\. .* {inventory}, .*; 'json'"),
        ({"template": "{objects[*].lable}"}, SCENE, r"'objects\[\*\]\.lable' is not .*{objects\[\*\]\.label}"),
        ({"template": "{title.x}"}, SCENE, r"'title\.x' is not a field"),
        ({"template": "title"}, SCENE, r"'title' contains no field in braces .*{title}"),
        ({"replace": (("a", "b"), ("", "y"))}, SCENE, r"A text to replace is empty \(--replace FROM=TO\)\."),
        ({"max_tags": 3}, LIBRARY.get("alt_text"), "alt_text has no list of tags that --max-tags could shorten."),
    ],
)
def test_mistakes_are_one_sentence_before_the_run(options: dict, perspective: Perspective, message: str) -> None:
    with pytest.raises(BatchError, match=f"^{message}") as error:
        TextWriter(TextOptions(**options), perspective)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("trainer", "text", "warns"),
    [
        ("kohya", "word " * 225, False),
        ("kohya", "word, " * 113, True),
        ("onetrainer", "isn't " * 37 + "a", False),
        ("onetrainer", "123 " * 26, True),
        ("hf", "word " * 76, True),
        ("ai-toolkit", "a,b,c " * 512, False),
        ("ai-toolkit", "word " * 513, True),
        ("", "word " * 1000, False),
    ],
)
def test_the_token_limit_warns(trainer: str, text: str, warns: bool) -> None:
    assert bool(limit_warning(trainer, text)) == warns
