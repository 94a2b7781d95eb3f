"""The messages of a chat, and what of them belongs to the picture."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bridge.captioning.models import Strict
from bridge.errors import InvalidRequest


class ImageUrl(Strict):
    """A data URI or an address. `detail` is taken and not used: the size that suits the model is known here."""

    url: str = Field(repr=False)
    detail: Literal["auto", "low", "high", "original"] | None = None


class Part(Strict):
    """A piece of a message: text or an image."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _what_it_says(self) -> Self:
        if self.type == "text" and (self.text is None or self.image_url is not None):
            raise PydanticCustomError("part", "a part of type 'text' holds text and nothing else")
        if self.type == "image_url" and (self.image_url is None or self.text is not None):
            raise PydanticCustomError("part", "a part of type 'image_url' holds image_url and nothing else")
        return self


class Message(Strict):
    """One message. What an assistant said is not read."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part] = Field(default_factory=list)
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _assistant_unread(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("role") == "assistant":
            return {"role": "assistant"}
        return value

    @field_validator("content", mode="before")
    @classmethod
    def _text_is_a_part(cls, value: object) -> object:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    @property
    def texts(self) -> list[str]:
        """Its texts that are not blank."""
        return [part.text for part in self.content if part.text and part.text.strip()]

    @property
    def images(self) -> list[str]:
        """Its images."""
        return [part.image_url.url.strip() for part in self.content if part.image_url]


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user asks now: one image, the words that go with it, and what the system says to all of it."""

    image: str = field(repr=False)
    texts: tuple[str, ...]
    system: str


def read_turn(messages: list[Message]) -> Turn:
    """The last turn of a conversation: the user's messages after the assistant last spoke.

    What came before was said of other pictures. The image stands in the last user message.
    Raises InvalidRequest when there is none there, or another one in the turn.
    """
    system = [one for one in messages if one.role in ("system", "developer")]
    spoken = max((at for at, one in enumerate(messages) if one.role == "assistant"), default=-1)
    turn = [one for one in messages[spoken + 1 :] if one.role == "user"]
    last = turn[-1].images if turn else []
    images = [image for one in (*system, *turn) for image in one.images]
    if len(last) != 1 or len(images) != 1:
        found = "it holds none" if not images else f"there are {len(images)}" if len(images) > 1 else "it is elsewhere"
        raise InvalidRequest(
            "Give one image as an image_url part (a data URI or an http(s) address) of the last user message; "
            f"{found}.",
            (("/messages", "exactly one image"),),
        )
    return Turn(
        last[0],
        tuple(text for one in turn for text in one.texts),
        "\n\n".join(text for one in system for text in one.texts),
    )
