"""Peak memory of a program and of the processes that it starts; Linux only."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from numpylm.cost.memory import process_bytes

PROC = Path("/proc/self")


class PeakMemory:
    """``with PeakMemory() as peak: …; peak.mib``: what this process took at most (VmHWM), and what
    the others had at most for themselves alone (private pages, looked up every 50 ms).
    """

    def __init__(self) -> None:
        self.elsewhere = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.thread.join()

    @property
    def mib(self) -> float:
        return (process_bytes()[1] + self.elsewhere) / 2**20

    def _watch(self) -> None:
        while not self.ended.wait(0.05):
            pids = [p for f in PROC.glob("task/*/children") for p in f.read_text().split()]
            self.elsewhere = max(self.elsewhere, sum(map(_private_bytes, pids)))


def _private_bytes(pid: str) -> int:
    with suppress(OSError):  # it has ended
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))
    return 0
