"""The table of errors has a row for every exception that can reach a client."""

import inspect
from types import ModuleType

import pytest

from bridge import deadline, errors
from perspectives import errors as perspective_errors
from providers import errors as provider_errors

MODULES = (errors, perspective_errors, provider_errors, deadline)


@pytest.mark.parametrize("module", MODULES, ids=[module.__name__ for module in MODULES])
def test_every_error_has_a_row(module: ModuleType) -> None:
    """Base classes are not raised. ValidationFailed causes a re-ask, and finally OutputInvalid."""
    classes = [cls for _, cls in inspect.getmembers(module, inspect.isclass) if issubclass(cls, Exception)]
    defined = [cls for cls in classes if cls.__module__ == module.__name__]
    without = [cls.__name__ for cls in defined if cls not in errors.TABLE and not cls.__subclasses__()]
    assert [name for name in without if name != "ValidationFailed"] == []
