"""The summary of a run, from its events."""

from bridge.batch.models import Captioned, Failed, Failure, Finished, Row, Skipped, Started, Totals
from bridge.batch.options import Options, TextOptions
from bridge.batch.summary import Summary, duration, money

OPTIONS = Options(("photos",), ("training_caption",), text=TextOptions(trainer="onetrainer"))


def captioned(number: int, **fields: object) -> Captioned:
    caption = {"warnings": ["Resized."], "attempts": [{"outcome": "invalid_answer"}, {"outcome": "ok"}]}
    values = {"text": "a cat", "caption": caption, "seconds": number, "attempts": 2, "input_tokens": 1000, **fields}
    return Captioned(Row(f"{number}.jpg", "training_caption", **values))


def failed(name: str, code: str, message: str = "It failed.") -> Failed:
    return Failed(Row(name, "training_caption", failure=Failure(name, code, message, 1), attempts=1))


def lines(*events: object, options: Options = OPTIONS) -> list[str]:
    summary = Summary(options)
    for event in events:
        summary.update(event)
    return list(summary.lines())


def test_a_run_with_failures() -> None:
    shown = lines(
        Started(10, 10, ("training_caption",), "photos", 2, {"hidden": 2, "sidecars": 3}),
        Skipped("s.jpg", "training_caption"),
        Skipped("r.jpg", "training_caption", restored=True),
        *(captioned(number, output_tokens=50, cost=0.75) for number in range(4)),
        captioned(9, text="word " * 76),
        failed("a\nb\x1b[2J.jpg", "invalid_image", "The JPEG image is\ntruncated."),
        failed("c.jpg", "refused"),
        captioned(9),
        failed("d.jpg", "refused"),
        Finished(Totals(6, 1, 1, 3, 13, 5000, 200, 3.0, 75.0)),
    )
    assert shown == [
        "6 captioned, 1 restored, 1 skipped, 3 failed",
        "Ignored files: hidden: 2, sidecars: 3",
        "2 × refused, for example c.jpg: It failed.",
        "1 × invalid_image, for example a b[2J.jpg: The JPEG image is truncated.",
        "Warning (6 ×): Resized.",
        "Warning (1 ×): Longer than 75 tokens, which is what onetrainer passes to CLIP; the rest is ignored.",
        "0:01:15 (0.12/s), 13 provider calls, 6 re-asks, 5,000 tokens in, 200 out, $3.00",
        "Slowest: 9.jpg (9.0 s), 3.jpg (3.0 s), 2.jpg (2.0 s)",
        "Caption refused images with another model (--model), for example a local one.",
        "Run the same command with --retry-failed to caption only the failed images.",
    ]


def test_short_runs() -> None:
    assert lines(Finished(Totals(skipped=3))) == ["0 captioned, 3 skipped"]
    captioned, *reason = lines(Finished(Totals(captioned=1), "interrupted", "Interrupted."))
    remedy = "Run the same command again: it continues with the images that have no caption."
    assert (captioned, reason) == ("1 captioned", ["Interrupted.", remedy])


def test_the_summary_stays_small() -> None:
    """Neither warnings of many kinds nor long messages make it long."""
    events = [captioned(number, caption={"warnings": [f"{number}"], "attempts": []}) for number in range(1000)]
    shown = lines(*events, failed("x" * 250, "refused", "y" * 10_000), failed("z", "blocked"))
    assert len(shown) < 20
    assert max(map(len, shown)) < 310


def test_words() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 36_000)] == ["0:00:00", "0:01:00", "0:59:59", "10:00:00"]
    assert [money(cost) for cost in (None, 0.0004, 1234.5)] == ["cost unknown", "$0.0004", "$1,234.50"]
