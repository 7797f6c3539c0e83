"""Where and with what it was measured."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]


def describe() -> dict[str, Any]:
    """Date, revision, machine and Python's versions; the load average is that of this moment."""
    revision = _git("rev-parse", "--short=12", "HEAD")
    changed = bool(_git("status", "--porcelain", "--", "src", "bench"))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision + (" and uncommitted changes" if revision and changed else ""),
        "machine": {
            "cpu": _field("/proc/cpuinfo", "model name") or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_mib": int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024,
            "system": f"{platform.system()} {platform.release()}",
            "load_average_at_start": [round(load, 2) for load in os.getloadavg()],
        },
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("syncline", "psycopg", "pyarrow")},
        },
    }


def server(database: psycopg.Connection[Any]) -> dict[str, str]:
    """Version and the settings that matter of a server."""
    names = ("server_version", "fsync", "shared_buffers", "max_wal_size", "synchronous_commit")
    return {name: str(database.execute(f"SHOW {name}".encode()).fetchall()[0][0]) for name in names}


def _field(path: str, name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", Path(path).read_text(), re.MULTILINE)
    return found[1].strip() if found else ""


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
