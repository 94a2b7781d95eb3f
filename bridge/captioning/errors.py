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


class Cancelled(Exception):
    """The caption was cancelled by who asked for it."""

    def __init__(self) -> None:
        super().__init__("The caption was cancelled before it was finished.")


class NothingToSynthesize(Exception):
    """No perspective succeeded, so there is nothing to bring together."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No perspective succeeded, so '{name}' had nothing to bring together.")


class TooManyRequests(Exception):
    """One socket holds as many requests as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"This socket already carries {limit} requests; wait for one to be done, or open another.")


class Unauthorized(Exception):
    """The service wants one of its keys, and the request shows none."""

    def __init__(self) -> None:
        super().__init__("This service wants a key: send 'Authorization: Bearer …' or 'X-API-Key: …'.")


class OriginRefused(Exception):
    """A web page from elsewhere tries to use this service from its visitor's browser."""

    def __init__(self, what: str = "A page of this origin") -> None:
        super().__init__(f"{what} may not use this service. Its operator can list the origin in GRAPHCAP_CORS_ORIGINS.")


class Busy(Exception):
    """The worker carries as many requests as it may."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The service carries as many requests as it can. Try again in a moment.")


class ShuttingDown(Exception):
    """The worker ends; what it carried, or was asked for, is not finished."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("The service is shutting down. Send the request again: another instance may take it.")


class TooOften(Exception):
    """The caller sends more requests than the service takes from one."""

    def __init__(self, limit: str, retry_after: float, headers: dict[str, str]) -> None:
        """`limit` in words, `retry_after` in seconds, `headers` that tell what is left."""
        super().__init__(f"This service takes {limit} from one caller. Wait before you send more.")
        self.retry_after = retry_after
        self.headers = headers
