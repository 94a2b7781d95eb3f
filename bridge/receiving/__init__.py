"""How requests arrive: heads within a time and a size, bodies and frames at a pace; and answers, to who takes them.

uvicorn bounds none of these (measured with 0.54): a client that sends or reads a byte a minute would hold its
connection for ever.
"""

from bridge.receiving.frames import MOST_FRAGMENTS, Socket
from bridge.receiving.requests import HEAD_BYTES, Receiver

__all__ = ["HEAD_BYTES", "MOST_FRAGMENTS", "Receiver", "Socket"]
