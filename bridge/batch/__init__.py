"""Caption many images: list them, caption each, write the outputs, and report what happens as events."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.batch.rows import caption_rows, open_job

__all__ = ["caption_rows", "open_job"]


def __getattr__(name: str) -> Any:
    """Import the functions at first use, so that `graphcap batch --help` does not load them."""
    if name in __all__:
        from bridge.batch import rows

        return getattr(rows, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
