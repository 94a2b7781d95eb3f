"""Connect to a Ray cluster, and check its nodes before the first call."""

import logging
import math
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.batch.engines import ProviderUnusable
from bridge.batch.folder import BatchError
from bridge.batch.options import RayOptions
from bridge.batch.start import Prepared
from bridge.settings import environment, read_secret
from bridge.version import __version__
from providers import registry

_PREFIXES = ("AWS_", "AZURE_", "FSSPEC_", "GCSFS_", "GOOGLE_", "HF_")
"""Prefixes of variables that configure the file systems of fsspec."""
_NETWORK = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_CONNECT_SECONDS = 10.0
_CALLS = 64
"""Calls at a time that one captioner makes without waiting for its event loop, with a model that answers in 0.5 s."""
_LOCAL_MEMORY = 200 * 1024 * 1024
"""Bytes of the object store of a local cluster. It contains rows, and no image."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that passed the checks. `control`: the actor of the run. `actors`: how many captioners are started.

    `cpus`: those of each of them. `concurrency`: the provider calls that each of them makes at a time.
    """

    control: Any
    actors: int
    cpus: float
    concurrency: int


def connect(prepared: Prepared) -> Cluster:
    """Connect to the configured Ray cluster, or start a cluster on this machine. Check that the nodes are suitable.

    Afterwards, `sys.stdout` is standard error, because Ray prints messages of the cluster: with `--json`, they would be
    among the events. End the process with `exit_if_connected`. Raises BatchError and ProviderUnusable.
    """
    options = prepared.job.options.ray
    assert options is not None
    ray = _imported()
    _init(ray, options.address or os.environ.get("RAY_ADDRESS", "") or "local")
    sys.stdout = sys.stderr
    concurrency = prepared.job.options.concurrency
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    actors, cpus = actors_for(nodes, options, concurrency)
    share = concurrency // actors
    return Cluster(_start(ray, prepared, share, cpus), actors, cpus, share)


def exit_if_connected(code: int) -> None:
    """End this process with an exit code if it is connected to a cluster. The actors end too, and a local cluster.

    Two agents of a local cluster need a minute to end. Do not call `ray.shutdown()`: it does not wait for the threads
    of Ray Data, and Ray ends the process with code 1 if one of them uses Ray afterwards (ray-project/ray#19115).
    """
    if (ray := sys.modules.get("ray")) is not None and ray.is_initialized():
        sys.stderr.flush()
        os._exit(code)


def _imported() -> Any:
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the driver prints them on standard error
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # several nodes may fail the check
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise BatchError("--engine ray requires Ray. Run pip install 'graphcap-bridge[ray]'.") from None
    return ray


def _init(ray: Any, address: str) -> None:
    """Connect to a cluster. Raises BatchError."""
    here: dict[str, Any] = {}
    if address == "local":
        here = {"include_dashboard": False, "object_store_memory": _LOCAL_MEMORY}
    elif address != "auto":
        _require_open(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **here)
    except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        text = " ".join(str(error).split())
        raise BatchError(f"The Ray cluster at '{address}' cannot be used: {text}") from None


def _require_open(address: str) -> None:
    """Raise BatchError if nothing listens at the address. Ray itself would try for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and port.isdecimal()):
        raise BatchError(
            f"'{address}' is not of the form HOST:PORT. Name the address that `ray start --head` printed, and run the "
            "command on a node of the cluster."
        )
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise BatchError(f"There is no Ray cluster at '{address}': {error.strerror or error}.") from None


def actors_for(nodes: list[dict[str, float]], options: RayOptions, concurrency: int) -> tuple[int, float]:
    """Return how many captioners to start, and the CPUs of each. Each makes at least one call at a time.

    By default there is one captioner per node, with all its CPUs. There are more for GPUs, and for more calls than the
    event loops of so few processes can make. `nodes`: the resources of each node. Raises BatchError.
    """

    def fitting(cpus: float) -> int:
        needs = {"CPU": cpus, "GPU": options.actor_gpus}
        return sum(min(int(node.get(name, 0) / need) for name, need in needs.items() if need) for node in nodes)

    calls = math.ceil(concurrency / _CALLS)
    wanted = options.num_actors or (max(calls, fitting(1)) if options.actor_gpus else calls)
    suitable = [node for node in nodes if node.get("CPU", 0) >= 1 and node.get("GPU", 0) >= options.actor_gpus]
    most = min((int(node["CPU"]) for node in suitable), default=1)
    cpus = options.actor_cpus or next((n for n in range(most, 1, -1) if fitting(n) >= wanted), 1)
    fits = fitting(cpus)
    if not fits:
        has = ", ".join(f"{sum(node.get(name, 0) for node in nodes):g} {name}s" for name in ("CPU", "GPU"))
        raise BatchError(f"No actor fits in the cluster, which has {has}. Lower --actor-cpus or --actor-gpus.")
    return min(options.num_actors or fits, concurrency), cpus


def _start(ray: Any, prepared: Prepared, concurrency: int, cpus: float) -> Any:
    """Start the control of a run, and check the nodes. Raises BatchError and ProviderUnusable."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from bridge.batch.ray_worker import Control

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    control = ray.remote(Control).options(num_cpus=0, scheduling_strategy=here).remote()
    ray.get(control.configure.remote(_setup(prepared, concurrency, cpus)))
    _check_nodes(ray, prepared, control)
    return control


def _setup(prepared: Prepared, concurrency: int, cpus: float) -> Any:
    from bridge.batch.ray_worker import Setup

    options, settings = prepared.job.options, prepared.job.services.settings
    absolute = {
        "workspace": settings.workspace.absolute(),
        "perspectives_dir": tuple(path.absolute() for path in settings.perspectives_dir),
        "image_workers": settings.image_workers or max(1, round(cpus)),
    }
    return Setup(
        replace(options, concurrency=concurrency),
        settings.model_copy(update=absolute),
        dict(_variables(settings.workspace / "config" / "providers.toml")),
    )


def _variables(toml: Path) -> Iterator[tuple[str, str]]:
    """Yield the environment variables of providers and file systems. Key files are read on this machine."""
    variables = environment()
    text = toml.read_text("utf-8") if toml.is_file() else ""
    names = {name for spec in registry.specs() for name in (*spec.key_env, *spec.url_env)}
    names |= set(re.findall(r"""api_key_env\s*=\s*["'](\w+)""", text))
    for name in {*names, *_NETWORK, *(name for name in variables if name.startswith(_PREFIXES))}:
        if value := variables.get(name):
            yield name, value
        elif path := variables.get(f"{name}_FILE"):
            yield name, read_secret(path)


def _check_nodes(ray: Any, prepared: Prepared, control: Any) -> None:
    """Raise BatchError if a node differs from this machine or cannot read the first image.

    Raises ProviderUnusable if a node cannot use the provider.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from bridge.batch.ray_worker import check_node

    job = prepared.job
    url = next((item.url for item in prepared.items if not item.is_on_web), "")
    expected = (job.engine.target, [each.digest for each in job.perspectives])
    task = ray.remote(num_cpus=0)(check_node)
    nodes = {node["NodeManagerAddress"]: node["NodeID"] for node in ray.nodes() if node["Alive"]}
    checks = {
        name: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(control, url)
        for name, node in nodes.items()
    }
    for name, check in checks.items():
        try:
            version, *found, unreadable = ray.get(check)
        except ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            kind = ProviderUnusable if isinstance(cause, ProviderUnusable) else BatchError
            raise kind(
                f"The node {name} cannot run the batch: {cause or str(error).strip().splitlines()[-1]}"
            ) from None
        if version != __version__:
            raise BatchError(f"The node {name} has graphcap-bridge {version}, this machine {__version__}.")
        if tuple(found) != expected:
            raise BatchError(f"The node {name} has another workspace: its perspectives or providers differ.")
        if unreadable:
            raise BatchError(
                f"The node {name} cannot read '{url}': {unreadable}. Use a bucket or a folder that all nodes mount."
            )
