"""Numbers for a field: what was measured, brought into the bounds that the schema sets."""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, Final

from providers.measurements import Measurements

Value = int | float
Measure = Callable[[Measurements], float | None]

# By the stems of the name. A share (0 to 1) is stretched to the field's own scale, a quantity is not.
SHARES: Final[tuple[tuple[str, Measure], ...]] = (
    ("brightness|lightness|luminance|light", lambda m: m.brightness),
    ("contrast", lambda m: m.contrast),
    ("saturation|colourful|colorful|vivid|vibran", lambda m: m.colourfulness),
    ("sharpness|sharp|focus", lambda m: m.sharpness),
    ("warmth|warm", lambda m: (m.warmth + 1) / 2),
    ("symmetry|symmetrical", lambda m: m.symmetry),
    ("transparency|transparent|alpha", lambda m: m.transparent),
    ("shadow", lambda m: m.shadows),
    ("highlight", lambda m: m.highlights),
    ("edge|texture|complexity|busy", lambda m: m.edges),
)
QUANTITIES: Final[tuple[tuple[str, Measure], ...]] = (
    ("width", lambda m: m.width),
    ("height", lambda m: m.height),
    ("aspect|ratio", lambda m: round(m.width / max(1, m.height), 3)),
    ("megapixel", lambda m: round(m.megapixels, 2)),
    ("frame", lambda m: m.frames),
    ("byte|filesize", lambda m: m.byte_size or None),
    ("iso", lambda m: m.camera.iso),
    ("aperture", lambda m: m.camera.aperture),
    ("exposure|shutter", lambda m: m.camera.exposure),
    ("focal", lambda m: m.camera.focal_length),
)


def bounds(schema: dict[str, Any]) -> tuple[float, float]:
    """The least and the greatest value taken; infinite where the schema sets none."""
    low = max(_stated(schema, "minimum", -math.inf), _stated(schema, "exclusiveMinimum", -math.inf))
    high = min(_stated(schema, "maximum", math.inf), _stated(schema, "exclusiveMaximum", math.inf))
    return low, high


def stretched(share: float, schema: dict[str, Any], *, whole: bool) -> float:
    """A share from 0 to 1 on the scale of the field: its own bounds, else 0 to 100 for whole numbers."""
    low, high = bounds(schema)
    if math.isfinite(high):
        start = low if math.isfinite(low) else 0.0
        return start + share * (high - start)
    return share * 100 if whole else share


def middle(schema: dict[str, Any]) -> float:
    """The value that takes no side."""
    low, high = bounds(schema)
    if math.isfinite(low) and math.isfinite(high):
        return (low + high) / 2
    return max(low, min(0.0, high))


def fitted(wanted: float, schema: dict[str, Any], *, whole: bool) -> Value | None:
    """The allowed value nearest to the wanted one; None when the schema allows no number at all."""
    found = nearby(wanted, schema, whole=whole, count=1)
    return min(found, key=lambda value: abs(value - wanted), default=None)


def nearby(wanted: float, schema: dict[str, Any], *, whole: bool, count: int) -> Iterator[Value]:
    """Allowed values around the wanted one, about `count` of them."""
    low, high = bounds(schema)
    held = min(max(wanted, low), high)
    step = _step(schema, whole)
    values = _between(held, low, high, count) if step is None else _stepwise(held, step, count)
    return (value for value in values if holds(value, schema))


def holds(value: Value, schema: dict[str, Any]) -> bool:
    """Whether the schema's bounds allow this number."""
    return (
        ("minimum" not in schema or value >= schema["minimum"])
        and ("maximum" not in schema or value <= schema["maximum"])
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
        and ("multipleOf" not in schema or (_exact(value) / _exact(schema["multipleOf"])).denominator == 1)
    )


def _stepwise(held: float, step: Fraction, count: int) -> Iterator[Value]:
    """Multiples of the step, outwards from the one below."""
    origin = _exact(held) // step
    for offset in range(count + 2):
        for value in {(origin + offset) * step, (origin - offset) * step}:
            yield int(value) if value.denominator == 1 else float(value)


def _between(held: float, low: float, high: float, count: int) -> Iterator[float]:
    """The value itself, then shares of the way to either bound."""
    yield round(held, 4)
    yield held
    for number in range(1, count + 1):
        for bound in (low, high):
            yield held + (number if math.isinf(bound) else (bound - held) * number / (count + 2))
    yield from (math.nextafter(held, math.inf), math.nextafter(held, -math.inf))


def _step(schema: dict[str, Any], whole: bool) -> Fraction | None:
    """What the value has to be a multiple of; reckoned in decimal, so that 0.3 is a multiple of 0.1."""
    if "multipleOf" not in schema:
        return Fraction(1) if whole else None
    step = _exact(schema["multipleOf"])
    return Fraction(step.numerator) if whole else step


def _exact(number: Value) -> Fraction:
    return Fraction(str(number))


def _stated(schema: dict[str, Any], word: str, default: float) -> float:
    return float(schema.get(word, default))
