"""Why there is no connection, in a sentence."""

import socket
import ssl

import pytest
from providers.exchange import unreachable


def raised(cause: Exception, during: Exception) -> Exception:
    """An SDK's error over its cause, which came up while something else was handled."""
    found = RuntimeError("a stranger's words")
    found.__cause__ = cause
    cause.__context__ = during
    return found


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (socket.gaierror(-2, "unknown"), ": the name is unknown. Check the base URL."),
        (ConnectionRefusedError(111, "refused"), ": the connection was refused. Check that it runs, and the port"),
        (ssl.SSLCertVerificationError(1, "self-signed"), ": its TLS certificate is not trusted."),
        (ssl.SSLError(1, "wrong version"), ": it does not speak TLS as asked."),
        (TimeoutError(), ": it did not accept the connection in time."),
        (OSError(113, "no route"), ". Check that it runs and its base URL."),
    ],
)
def test_each_reason_has_its_sentence(cause: Exception, words: str) -> None:
    """The guarded transport tries a name as a number first: its ValueError stands below the look-up's error."""
    error = unreachable("X", "https://x.example:8443/v1", raised(cause, ValueError("no number")))
    assert error.message.startswith(f"Could not connect to X at https://x.example:8443{words}")
    assert "stranger" not in error.message
    assert isinstance(error.__cause__, ValueError)
