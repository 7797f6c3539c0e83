"""syncline.toml changes while its pipelines run."""

from __future__ import annotations

import os
import signal

from .conftest import PIPELINE
from .project import Room, make_shop, rows, wait_until, workers, write_row


def states(room: Room) -> dict[str, str]:
    """The states of the pipeline's tables while its worker runs."""
    status = room.status("orders")
    if not status["running"] or not status["figures"]:
        return {}
    return {table["table"]: table["state"] for table in status["figures"]["tables"]}


def configure(room: Room, more: str) -> None:
    source, target = f"sqlite:///{room.folder}/shop.db", f"sqlite:///{room.folder}/copy.db"
    room.write(PIPELINE.format(name="orders", source=source, target=target) + more)


def test_tables_come_and_go_with_the_configuration(room: Room) -> None:
    make_shop(room.folder / "shop.db", tables=("items",))
    configure(room, 'include = ["orders"]\n')
    process = room.start("run")
    room.wait_live("orders")
    assert states(room) == {"orders": "live"}
    configure(room, 'include = ["orders", "items"]\n')
    wait_until(lambda: states(room) == {"items": "live", "orders": "live"}, "the new table")
    configure(room, 'include = ["items"]\n')
    wait_until(lambda: states(room) == {"items": "live"}, "the end of a table")
    write_row(room.folder / "shop.db", 1000)
    write_row(room.folder / "shop.db", 1000, "items")
    wait_until(lambda: (1000, "new") in rows(room.folder / "copy.db", "items"), "what goes on")
    assert len(rows(room.folder / "copy.db")) == 100  # its rows stay
    assert process.poll() is None


def test_a_broken_file_changes_nothing_and_is_told(room: Room) -> None:
    room.start("run")
    room.wait_live("orders")
    (pid,) = workers(room.folder)
    room.write("[pipelines.orders]\nform = 1\n")
    wait_until(lambda: "pipelines go on as they were" in room.lines, "the answer")
    assert '"from" is missing in pipelines.orders' in room.lines
    assert workers(room.folder) == [pid]
    os.kill(pid, signal.SIGKILL)  # also who begins now has what was checked
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: (1000, "new") in rows(room.folder / "copy.db"), "the row")
    room.write("")
    wait_until(lambda: "cannot reload pipeline orders: it is gone from the file" in room.lines, "the answer")
    assert len(workers(room.folder)) == 1
