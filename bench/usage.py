"""Processor time and memory of processes, read from outside: /proc/PID/stat and /proc/PID/status.

Source: proc(5). Seconds are user and system time together, in steps of a clock tick (10 ms as a rule).
"""

from __future__ import annotations

import os
import re
import time
from collections import defaultdict
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.1


class Usage:
    """The processor time that a run costs, by who spends it, and the peak memory of its client processes.

    `servers` are PostgreSQL servers, name to process id of the postmaster; their processes are told apart by
    their title. `aside` are processes that belong to the measuring. What a process spends between the
    last sample and its end is not seen: at most `SAMPLE_SECONDS`.
    """

    def __init__(self, servers: dict[str, int], aside: set[int]) -> None:
        self._servers, self._aside = servers, aside
        self._clients: dict[int, str] = {}
        self._spent: dict[int, tuple[str, float]] = {}
        self._peaks: dict[int, float] = {}
        self._due = 0.0
        self._before = {pid: seconds for pid, _, seconds in self._server_processes()}

    def watch(self, pid: int, name: str) -> None:
        """Count a client process, which began within this run."""
        self._clients[pid] = name

    def sample(self, *, now: bool = False) -> None:
        """Take a sample when one is due, or `now`."""
        if not now and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + SAMPLE_SECONDS
        for pid, name in self._clients.items():
            seconds, peak = processor_seconds(pid), peak_mib(pid)
            if seconds is not None:
                self._spent[pid] = name, seconds
            if peak is not None:
                self._peaks[pid] = peak
        for pid, name, seconds in self._server_processes():
            # A process that is just ending has no title any more: it is still what it was.
            known = name or self._spent.get(pid, ("", 0.0))[0]
            self._spent[pid] = known, seconds - self._before.get(pid, 0.0)

    @property
    def cpu_seconds(self) -> dict[str, float]:
        """Processor seconds of this run by process: client names, and `walsender (source)` and the like."""
        sums: dict[str, float] = defaultdict(float)
        for name, seconds in self._spent.values():
            sums[name or "unknown"] += seconds
        return {name: round(seconds, 2) for name, seconds in sorted(sums.items())}

    @property
    def client_peak_mib(self) -> float:
        """The highest resident memory of any client process, in MiB."""
        return round(max(self._peaks.values(), default=0.0), 1)

    def _server_processes(self) -> list[tuple[int, str, float]]:
        found = []
        for server, postmaster in self._servers.items():
            for pid in _children(postmaster):
                seconds = processor_seconds(pid)
                if seconds is not None and pid not in self._aside:
                    role = _role(pid)
                    found.append((pid, f"{role} ({server})" if role else "", seconds))
        return found


def processor_seconds(pid: int) -> float | None:
    """Processor seconds of a process so far; None when it is gone."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND if fields else None


def peak_mib(pid: int) -> float | None:
    """The highest resident memory of a process so far, in MiB; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else None


def parent(pid: int) -> int | None:
    """The process that started a process; None when there is no such process here."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _role(pid: int) -> str:
    """What a server process is for, by its title (`update_process_title`, on by default); '' for one that
    has no title yet, or none any more."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        title = ""
    kind = title.removeprefix("postgres: ")
    if kind == title:
        return ""
    if kind.startswith("walsender"):
        return "walsender"
    if kind.startswith("logical replication") and "launcher" not in kind:
        return "subscription worker"
    return "backend" if re.search(r"127\.0\.0\.1|\[local\]|::1", kind) else "other"
