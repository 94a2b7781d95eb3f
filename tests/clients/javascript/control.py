"""A bridge and its model server under the control of a program in another language, over HTTP on loopback."""

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.clients.bridge import ANSWER, PHOTO, STUDIO_KEY, Bridge
from tests.clients.bridge import bridge as running_bridge
from tests.servers import behaviours as b
from tests.servers.loopback import Handler, LoopbackServer
from tests.service import Service

KEYS = tuple(f"our-javascript-key-{number}" for number in range(20))
RATE_LIMIT = "30/month"
"""Per key, and for the wrong keys of all tests together. The window begins by the clock: none should end in a test."""


class Control:
    """Commands of a test program: `POST /<command>` with a JSON object as its arguments; the response is JSON."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._service = bridge.service
        self._port = bridge.service.port

    def reset(self) -> None:
        """Start the bridge if it does not run, remove all calls and scripts, and answer with ANSWER."""
        self.start()
        self._bridge.reset()

    def reply(self, behaviours: list[dict[str, Any]]) -> None:
        """Queue behaviours of the model server for the next calls."""
        self._bridge.server.reply(*map(behaviour, behaviours))

    def default(self, reply: dict[str, Any]) -> None:
        """Set the behaviour of the model server for all other calls."""
        self._bridge.server.default = behaviour(reply)

    def calls(self) -> int:
        """Return how many calls the model server received."""
        return len(self._bridge.server.calls)

    def wait(self, calls: int = 0, hang_ups: int = 0) -> None:
        """Return when the model server has received this number of calls and early disconnects."""
        self._bridge.server.wait_for_calls(calls)
        self._bridge.server.wait_for_hang_ups(hang_ups)

    def kill(self) -> None:
        """Kill the bridge."""
        self._service.process.kill()
        self._service.process.wait()

    def terminate(self) -> None:
        """Shut the bridge down gracefully."""
        self._service.stop()

    def start(self) -> None:
        """Start the bridge again at the same address."""
        if self._service.process.poll() is not None:
            self._service.stop()
            workspace = self._bridge.workspace
            self._service = Service("--port", str(self._port), workspace=workspace).__enter__()

    def close(self) -> None:
        """Shut down the running bridge."""
        if self._service is not self._bridge.service:
            self._service.stop()


def behaviour(spec: dict[str, Any]) -> b.Behaviour:
    """Build a behaviour from `{"Name": {"argument": …}}`; an argument may be a behaviour itself."""
    ((name, arguments),) = spec.items()
    nested = {key: behaviour(value) if key in ("of", "then") else value for key, value in arguments.items()}
    return getattr(b, name)(**nested)


class ControlServer(LoopbackServer):
    """Runs the commands of a control."""

    def __init__(self, control: Control) -> None:
        super().__init__(ControlHandler)
        self.control = control


class ControlHandler(Handler):
    server: ControlServer

    def do_POST(self) -> None:  # noqa: N802 (the name of the base class)
        arguments = json.loads(self.rfile.read(int(self.headers["content-length"])))
        try:
            status, value = 200, getattr(self.server.control, self.path.strip("/"))(**arguments)
        except Exception as error:  # noqa: BLE001 (the test program shows it)
            status, value = 500, repr(error)
        self.reply(status, json.dumps(value).encode())


@contextmanager
def controlled(workspace: Path) -> Iterator[dict[str, str]]:
    """Start a bridge, one that requires KEYS, and their control. Yield the environment of a test program."""
    with (
        running_bridge(workspace) as bridge,
        Service(GRAPHCAP_API_KEYS=",".join(KEYS), GRAPHCAP_RATE_LIMIT=RATE_LIMIT) as keyed,
        closing(Control(bridge)) as control,
        ControlServer(control) as server,
    ):
        yield {
            "BRIDGE_URL": bridge.service.url,
            "KEYED_URL": keyed.url,
            "CONTROL_URL": server.url,
            "BRIDGE_ANSWER": json.dumps(ANSWER),
            "PHOTO": str(PHOTO),
            "STUDIO_KEY": STUDIO_KEY,
        }
