"""`python -m fondaco.augment.parsing MEMORY_BYTES CPU_SECONDS SECONDS`, with a socket as its stdin."""

from __future__ import annotations

import sys

from fondaco.augment.parsing.server import main
from fondaco.augment.parsing.wire import Limits

if __name__ == "__main__":
    memory, cpu, seconds = sys.argv[1:4]
    main(Limits(memory_bytes=int(memory), cpu_seconds=int(cpu), seconds=float(seconds)))
