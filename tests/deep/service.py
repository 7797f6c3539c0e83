"""`make deep-service`: what `syncline run` costs that has nothing to do, and how quick its commands are.

One pipeline between two SQLite files. Prints memory and processor time of supervisor and worker over a
minute, and how long these take: the start until a table is live, `syncline status`, a worker's new start
after a kill, a pause, the end after SIGTERM, and the workers' end after a kill of the supervisor.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.control.conftest import PIPELINE
from tests.control.project import Room, make_shop, room, wait_until, workers

TICKS = os.sysconf("SC_CLK_TCK")


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in text]
    return int(line.split()[1]) / 1024


def used(pid: int) -> float:
    """Seconds of processor time."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS


def timed(what: str, work: Callable[[], object]) -> None:
    """Do it, and print how long it took."""
    begun = time.monotonic()
    work()
    print(f"{what:<45} {time.monotonic() - begun:6.2f} s", flush=True)


def idle(supervisor: int, worker: int, seconds: float) -> None:
    """Print what the two cost."""
    before = [used(pid) for pid in (supervisor, worker)]
    time.sleep(seconds)
    for name, pid, old in zip(("supervisor", "worker"), (supervisor, worker), before, strict=True):
        share = (used(pid) - old) / seconds
        print(f"{name:<45} {memory(pid):6.1f} MiB resident, {share:.2%} of a core", flush=True)


def measure(shop: Room, seconds: float) -> None:
    """The whole round."""
    os.environ["XDG_STATE_HOME"] = shop.env["XDG_STATE_HOME"]
    process = shop.start("run")
    timed("start until live", lambda: shop.wait_live("orders"))
    (worker,) = workers(shop.folder)
    for _ in range(3):
        timed("syncline status", lambda: shop.call("status"))
    idle(process.pid, worker, seconds)
    os.kill(worker, signal.SIGKILL)
    timed("a new worker live after kill -9", lambda: _another(shop, worker))
    timed("syncline pause until it stands still", lambda: _pause(shop))
    shop.call("resume")
    shop.wait_live("orders")
    process.terminate()
    timed("the end after SIGTERM", process.wait)
    process = shop.start("run")
    shop.wait_live("orders")
    process.kill()
    process.wait()
    timed(
        "no worker left after kill -9 of the supervisor",
        lambda: wait_until(lambda: not workers(shop.folder), ""),
    )


def _another(shop: Room, old: int) -> None:
    wait_until(lambda: workers(shop.folder) not in ([], [old]), "another worker")
    shop.wait_live("orders")


def _pause(shop: Room) -> None:
    shop.call("pause")
    shop.wait("orders", lambda status: status["state"] == "paused")


def main() -> int:
    """Measure in a folder that goes afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to watch the idle processes")
    parser.add_argument("--tables", type=int, default=1, help="how many tables the pipeline has")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="syncline-service-") as name, room(Path(name)) as shop:
        tables = [f"table_{number}" for number in range(asked.tables)]
        source = make_shop(shop.folder / "shop.db", rows=1000, tables=tables)
        shop.write(PIPELINE.format(name="orders", source=source, target=f"sqlite:///{name}/copy.db"))
        measure(shop, asked.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
