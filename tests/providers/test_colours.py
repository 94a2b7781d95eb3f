"""Colours and the names that people give them."""

import pytest

from providers.colours import name


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("ff0000", "bright red"),
        ("000000", "black"),
        ("ffffff", "white"),
        ("808080", "grey"),
        ("000080", "cobalt blue"),
        ("f5f5dc", "cream white"),
        ("8b4513", "brown"),
        ("808000", "olive green"),
        ("2f4f4f", "dark teal"),
    ],
)
def test_colours_have_the_names_that_people_give_them(code: str, expected: str) -> None:
    red, green, blue = bytes.fromhex(code)
    assert name((red, green, blue)).name == expected


def test_greys_are_never_given_a_colour() -> None:
    families = {name((level, level, level)).family for level in range(256)}
    assert families == {"black", "grey", "white"}
