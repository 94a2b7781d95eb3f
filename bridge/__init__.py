"""graphcap bridge: caption an image by a perspective with a vision model. The caption validates against a schema."""

from typing import TYPE_CHECKING, Any

from bridge.version import __version__

if TYPE_CHECKING:
    from bridge.captioning.python_api import caption

__all__ = ["__version__", "caption"]


def __getattr__(name: str) -> Any:
    """Import `caption` at first use, so that `graphcap --help` does not load it."""
    if name == "caption":
        from bridge.captioning.python_api import caption

        return caption
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
