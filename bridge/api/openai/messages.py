"""Read the image and the texts in the messages of a chat request."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from bridge.dispatch.targets import Strict
from bridge.errors import InvalidRequest


class ImageUrl(Strict):
    """A data URI or a URL. `detail` is ignored: the bridge knows the size that suits the model."""

    url: str = Field(repr=False)
    detail: Literal["auto", "low", "high", "original"] | None = None


class Part(Strict):
    """A part of a message: text or an image."""

    type: Literal["text", "image_url"]
    text: str | None = None
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _check_content(self) -> Self:
        if self.type == "text" and (self.text is None or self.image_url is not None):
            raise PydanticCustomError("part", "a part of type 'text' has text and nothing else")
        if self.type == "image_url" and (self.image_url is None or self.text is not None):
            raise PydanticCustomError("part", "a part of type 'image_url' has image_url and nothing else")
        return self


class Message(Strict):
    """A message. The content of assistant messages is ignored."""

    role: Literal["system", "developer", "user", "assistant"]
    content: list[Part] = Field(default_factory=list)
    name: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _ignore_assistant(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("role") == "assistant":
            return {"role": "assistant"}
        return value

    @field_validator("content", mode="before")
    @classmethod
    def _wrap_text(cls, value: object) -> object:
        return [{"type": "text", "text": value}] if isinstance(value, str) else value

    @property
    def texts(self) -> list[str]:
        """Return the texts of the message that are not blank."""
        return [part.text for part in self.content if part.text and part.text.strip()]

    @property
    def images(self) -> list[str]:
        return [part.image_url.url.strip() for part in self.content if part.image_url]


@dataclass(frozen=True, slots=True)
class Turn:
    """The last turn of a conversation: one image, the user's texts, and the system text."""

    image: str = field(repr=False)
    texts: tuple[str, ...]
    system: str


def read_turn(messages: list[Message]) -> Turn:
    """Return the user's messages after the last assistant message. Earlier messages concern other images.

    Raises InvalidRequest unless the last user message contains exactly one image and the others contain none.
    """
    system = [message for message in messages if message.role in ("system", "developer")]
    last_assistant = max((at for at, message in enumerate(messages) if message.role == "assistant"), default=-1)
    turn = [message for message in messages[last_assistant + 1 :] if message.role == "user"]
    last = turn[-1].images if turn else []
    images = [image for message in (*system, *turn) for image in message.images]
    if len(last) != 1 or len(images) != 1:
        count = "there is none" if not images else f"there are {len(images)}" if len(images) > 1 else "it is elsewhere"
        raise InvalidRequest(
            f"Send one image as an image_url part (a data URI or an http(s) URL) of the last user message; {count}.",
            (("/messages", "exactly one image"),),
        )
    return Turn(
        last[0],
        tuple(text for message in turn for text in message.texts),
        "\n\n".join(text for message in system for text in message.texts),
    )
