"""What can be wrong with a picture that a caller names or sends.

    ImageError
    ├── PathRefused         the path leads out of the workspace, or to no regular file
    ├── ImageNotFound       no such file inside the workspace
    ├── ImageUnreachable    the URL gave no picture: DNS, refused, slow, not 200, or its owner forbids it
    ├── ImageTooLarge       bytes, pixels, side, frames, expansion, or time to decode
    ├── UnsupportedImage    not a kind of picture that is taken
    ├── InvalidImage        broken: truncated, malformed, not base64
    └── UnknownResize       no such resize preset

`bridge.network.AddressRefused` is raised beside these when a URL leads to an address that is not called.

Messages are sentences for a person; they never hold a path outside the workspace nor a decoder's words.
"""


class ImageError(Exception):
    """A picture cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class PathRefused(ImageError):
    """The path does not stay inside the workspace, or is not that of a regular file."""


class ImageNotFound(ImageError):
    """The workspace has no such file."""


class ImageUnreachable(ImageError):
    """The URL did not give a picture."""


class ImageTooLarge(ImageError):
    """The picture exceeds a limit."""


class UnsupportedImage(ImageError):
    """The bytes are not a kind of picture that is taken."""


class InvalidImage(ImageError):
    """The bytes are not a whole, well-formed picture."""


class UnknownResize(ImageError, ValueError):
    """The resize preset does not exist."""
