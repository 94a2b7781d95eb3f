"""How one target is asked less strictly when an endpoint rejects the schema, and what is learnt of each endpoint."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from bridge.captioning.clients import Clients
from bridge.dispatch.legacy.attempts import Calls
from bridge.dispatch.legacy.endpoint import Endpoint
from providers.base import BaseClient, OutputMode, VisionRequest


@dataclass
class Ladder:
    """The rungs of one request, which goes down alone. `calls`: those it has made, the last of which was rejected."""

    client: BaseClient
    calls: Calls
    _below: dict[str, OutputMode] = field(default_factory=dict)

    def lower(self, request: VisionRequest) -> VisionRequest | None:
        """The request one rung below what the last endpoint was asked with; None below the last rung."""
        last = self.calls.made[-1]
        lowered = self.client.lower(replace(request, output_mode=last.output_mode))
        self._below[last.endpoint] = lowered.output_mode if lowered else last.output_mode
        return lowered

    def teach(self, clients: Clients, endpoints: Iterable[Endpoint], model: str) -> None:
        """Let those endpoints that rejected something be asked less strictly the next time."""
        for one in endpoints:
            if one.name in self._below:
                clients.remember(one, model, self._below[one.name])
