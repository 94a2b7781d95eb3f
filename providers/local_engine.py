"""The program of the embedded engine: llama.cpp's server for one model, on a random port of the loopback interface.

`python -m providers.local_engine PARENT` reads one line of JSON (the fields of `Options`) from standard input, loads
the model, and writes one line of JSON to standard output: the address, or a failure. The program exits when standard
input is closed, which happens when its parent ends. llama.cpp writes its log to standard error.
"""

import ctypes
import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_LOG_ERRORS = 1
_HEADROOM = 1.1  # memory of weights, buffers and context, divided by the size of the files
_ORPHANED = 3


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the engine. `context`: number of tokens per request. `parallel`: number of concurrent requests.

    `gpu_layers`: layers of the model to offload to a GPU, -1 for as many as fit.
    """

    model: str
    mmproj: str
    name: str
    key: str
    context: int
    parallel: int = 1
    gpu_layers: int = -1


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent ends (Linux). Exit if the parent has already ended.

    A process that hangs while it loads a model does not notice the end of standard input.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(_ORPHANED)


def available_memory() -> int | None:
    """Return the bytes that this process may still allocate, or None if unknown."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    except OSError:
        return None
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no cgroup limits the memory
        limits.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(limits, default=None)


def missing_memory(options: Options, devices: list[dict[str, Any]]) -> str:
    """Return a sentence if the model does not fit into memory, otherwise ""."""
    if any("GPU" in device["type"].name for device in devices) and options.gpu_layers:
        return ""
    needed = int(sum(Path(path).stat().st_size for path in (options.model, options.mmproj)) * _HEADROOM)
    available = available_memory()
    if available is None or needed <= available:
        return ""
    return (
        f"The model '{options.name}' needs {needed / 1e9:.1f} GB of memory, and {max(available, 0) / 1e9:.1f} GB are "
        "available. Choose a smaller model, or end other programs."
    )


def parameters(options: Options) -> Any:
    """Return llama.cpp's parameters."""
    from xllamacpp import CommonParams  # type: ignore[import-untyped]

    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    params = CommonParams()
    params.model.path, params.mmproj.path = options.model, options.mmproj
    params.model_alias = {options.name}
    params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [options.key]
    params.n_parallel, params.n_ctx = options.parallel, options.context * options.parallel
    params.n_gpu_layers = options.gpu_layers
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = max(cores - 1, 1)
    params.offline, params.ui, params.endpoint_slots, params.verbosity = True, False, False, _LOG_ERRORS
    params.cache_ram_mib = 0  # no cache of other prompts (default: 8 GB); slots keep their own prefix
    return params


def main() -> None:
    """Load the model that the first line of standard input names, and serve it until standard input ends."""
    end_with_parent(int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):  # a signal to the process group must not interrupt running calls
        signal.signal(number, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries goes to the log
    options = Options(**json.loads(sys.stdin.readline()))
    from xllamacpp import Server, get_device_info

    server = None
    reply = {"error": missing_memory(options, get_device_info())}
    if not reply["error"]:
        try:
            server = Server(parameters(options))  # loads the model, and runs in threads
            reply = {"url": server.listening_address}
        except RuntimeError:
            reply = {}  # the cause is in llama.cpp's log
    replies.write(json.dumps(reply) + "\n")
    replies.flush()
    if server is not None:  # without a server, a normal exit writes the rest of llama.cpp's log
        sys.stdin.read()
        os._exit(0)  # llama.cpp would wait for running requests


if __name__ == "__main__":
    main()
