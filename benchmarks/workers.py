"""Two workers against one, and each provider's protocol, by the CPU of a caption."""

from benchmarks.captions import in_base64
from benchmarks.photos import SMALL
from benchmarks.report import Promise, Report, Table
from benchmarks.rounds import HEAD, Contender, in_turns, ratio
from benchmarks.running import MODEL, bridge, standin

CONNECTIONS = 32
ROUNDS = 9


def run() -> Report:
    """A 70 KB photo that passes, at 32 connections."""
    data = SMALL.read_bytes()
    with standin() as provider, bridge(provider) as one, bridge(provider, GRAPHCAP_WORKERS="2") as two:
        asked = (in_base64(data),)
        sides = [("one worker", one), ("two workers", two)]
        workers = in_turns([Contender(name, server, asked, CONNECTIONS) for name, server in sides], ROUNDS)
        protocols = in_turns(
            [
                Contender(f"one worker, {kind}", one, (in_base64(data, provider=kind, model=MODEL),), CONNECTIONS)
                for kind in ("openai", "ollama", "gemini")
            ]
        )
    rows = [(name, *figures.cells()) for name, figures in (workers | protocols).items()]
    share = ratio(workers["two workers"], workers["one worker"])
    promise = Promise("CPU of a caption of 70 KB with two workers, of one's", 1.1, share, "×")
    return Report("Workers and protocols", [Table(("what", *HEAD), tuple(rows))], [promise])
