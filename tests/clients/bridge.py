"""A running bridge with a model server behind it."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.contract.kinds import KIND_BY_NAME
from tests.servers import WireServer
from tests.servers import behaviours as b
from tests.service import WORKSPACE, Service

PHOTO = WORKSPACE / "datasets/samples/coffee.jpg"
DATA_URI = "data:image/jpeg;base64," + base64.b64encode(PHOTO.read_bytes()).decode()
PERSPECTIVE = {
    "name": "look",
    "prompt": "Say what {subject} looks like.",
    "variables": [{"name": "subject", "default": "it"}],
    "json_schema": {
        "type": "object",
        "properties": {"look": {"type": "string"}, "sure": {"type": "boolean"}},
        "required": ["look", "sure"],
        "additionalProperties": False,
    },
    "context_template": "It looks {look}.",
}
ANSWER = {"look": "warm — 温かい", "sure": True}
MODEL = "look@studio/tiny-vision"
STUDIO_KEY = "sk-studio-key-of-the-deployment"
TOML = """
[providers.studio]
kind = "vllm"
base_url = "{url}"
api_key = "{key}"
default_model = "tiny-vision"

[providers.keyless]
kind = "openai"
base_url = "{url}"
default_model = "tiny-vision"
"""


@dataclass(frozen=True)
class Bridge:
    """The service, and its provider `studio`."""

    service: Service
    server: WireServer
    workspace: Path

    @property
    def url(self) -> str:
        return f"{self.service.url}/v1"

    def reset(self) -> None:
        """Remove all calls and scripts, and reset the default answer to ANSWER."""
        self.server.calls.clear()
        self.server.script.clear()
        self.server.listing_script.clear()
        self.server.hang_ups = 0
        self.server.default = b.Answer(ANSWER)


@contextmanager
def bridge(workspace: Path, **environment: str) -> Iterator[Bridge]:
    """Run the service and its model server; `workspace` is an empty directory."""
    with KIND_BY_NAME["vllm"].server(key=STUDIO_KEY) as server:
        (workspace / "config").mkdir()
        (workspace / "perspectives").mkdir()
        (workspace / "config/providers.toml").write_text(TOML.format(url=server.url, key=STUDIO_KEY))
        (workspace / "perspectives/look.json").write_text(json.dumps(PERSPECTIVE))
        with Service(workspace=workspace, **environment) as service:
            yield Bridge(service, server, workspace)


def message(*texts: str, image: str | None = DATA_URI) -> dict[str, Any]:
    """Return a user's message with an image and texts."""
    image_bytes = [] if image is None else [{"type": "image_url", "image_url": {"url": image}}]
    return {"role": "user", "content": [*image_bytes, *({"type": "text", "text": text} for text in texts)]}
