"""The text of an answer, whoever wrote it: whole characters, and no more of them than a caption can be."""

from providers.errors import BadReply

MAX_CHARACTERS = 1024 * 1024


class Text:
    """Grows piece by piece, or is there at once."""

    def __init__(self, title: str) -> None:
        """`title`: the provider's name in sentences."""
        self._title = title
        self._pieces: list[str] = []
        self._length = 0
        self._half = ""

    def add(self, piece: str) -> str:
        """Take in a piece and give back what may be shown of it. Raises BadReply when the text grows too long.

        JSON can escape half a character: halves of two pieces are joined, a half without its other is replaced.
        """
        piece = self._half + piece
        self._half = piece[-1] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        piece = whole_characters(piece.removesuffix(self._half))
        self._length += len(piece)
        if self._length > MAX_CHARACTERS:
            raise BadReply(f"The answer of {self._title} is too long: more than {MAX_CHARACTERS} characters.")
        self._pieces.append(piece)
        return piece

    def __str__(self) -> str:
        return "".join(self._pieces)


def whole_characters(text: str) -> str:
    """The text with every half of a character replaced: UTF-8 cannot hold one."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
