"""What can be wrong with a request itself."""


class InvalidRequest(Exception):
    """The request cannot be understood as it is. `problems` are (JSON Pointer, sentence) pairs."""

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class InvalidJson(Exception):
    """The body, or a part that should be JSON, is not."""


class BodyTooLarge(Exception):
    """The body is larger than the service takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The request is larger than the {limit / 1024 / 1024:.1f} MiB this service takes.")
