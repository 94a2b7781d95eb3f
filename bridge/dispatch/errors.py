"""Why no provider could be asked."""

from collections.abc import Sequence
from difflib import get_close_matches


class DispatchError(Exception):
    """The request names a provider or a model that cannot be asked."""


class UnknownProvider(DispatchError):
    """No provider has this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        near = get_close_matches(name, known, n=3, cutoff=0.7)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Configured are {', '.join(known)}."
        super().__init__(f"There is no provider named '{name[:80]}'. {hint}")


class MissingProvider(DispatchError):
    """A model is named and nothing says who serves it."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"No provider is chosen for the model '{model[:80]}'. Name one with 'provider' (--provider), "
            "or let a routing rule in providers.toml or GRAPHCAP_PROVIDER choose it."
        )
        self.pointer = "/provider"


class MissingModel(DispatchError):
    """Nothing says which model should answer."""

    def __init__(self, provider: str, listed: tuple[str, ...] = (), target: object = None) -> None:
        """`listed`: models that are known. `target`: whom to ask for them, where nothing is known."""
        known = f" It lists {', '.join(listed[:12])}." if listed else ""
        super().__init__(
            f"Name a model for the provider '{provider}': it has no default.{known} "
            f"`graphcap providers models {provider}` or GET /api/v1/providers/{provider}/models lists what it serves."
        )
        self.provider = provider
        self.listed = listed
        self.target = target
        self.pointer = "/model"


class MissingBaseUrl(DispatchError):
    """This kind of provider has no address of its own and none was given."""

    def __init__(self, kind: str) -> None:
        super().__init__(f"A provider of kind '{kind}' needs a base_url: it has no address of its own.")
        self.pointer = "/provider_config/base_url"


class InvalidBaseUrl(DispatchError):
    """The base URL is not one."""

    pointer = "/provider_config/base_url"


class ProviderNotAllowed(DispatchError):
    """The deployment does not let requests bring this base URL."""

    def __init__(self, policy: str) -> None:
        if policy == "none":
            text = "This service does not take a base_url in the request; name a configured provider instead."
        else:
            text = (
                "This service calls only addresses it was configured with. Ask its operator to add this one to "
                "providers.toml or GRAPHCAP_PROVIDER_URL_ALLOW, or name a configured provider."
            )
        super().__init__(text)


class Unserved(Exception):
    """A provider that can be asked, and cannot take this call now. `retry_after`: seconds until it may."""

    provider: str | None = None  # the label of the target; set by who chose it
    attempts: Sequence[object] = ()  # the calls that were made for the request; set by who made them
    retry_after: float


class Overloaded(Unserved):
    """So many calls wait for this provider that one more would wait in vain."""

    retry_after = 1.0

    def __init__(self) -> None:
        super().__init__("Too many requests wait for this provider. Try again in a moment.")


class AllOpen(Unserved):
    """No endpoint of the provider answers, and none is tried before `retry_after` seconds."""

    def __init__(self, endpoints: int, retry_after: float) -> None:
        who = (
            "The provider does not answer"
            if endpoints == 1
            else f"None of the provider's {endpoints} endpoints answers"
        )
        super().__init__(f"{who}, so no call is sent for now; next try in {retry_after:.0f} s.")
        self.retry_after = retry_after
