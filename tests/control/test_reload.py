"""syncline.toml changes while its pipelines run."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace

from syncline.control.project import open_project
from syncline.control.state import open_state
from syncline.control.stored import WorkerRow

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
    wait_until(lambda: "syncline.toml: it has none of the pipelines that run" in room.lines, "the answer")
    assert len(workers(room.folder)) == 1


def section(room: Room, name: str, table: str, more: str = "") -> str:
    """A pipeline of one table between shop.db and a file of its own."""
    source, target = f"sqlite:///{room.folder}/shop.db", f"sqlite:///{room.folder}/{name}.db"
    return PIPELINE.format(name=name, source=source, target=target) + f'include = ["{table}"]\n{more}'


def test_pipelines_come_and_go(room: Room) -> None:
    make_shop(room.folder / "shop.db", tables=("items",))
    orders, items = section(room, "orders", "orders"), section(room, "items", "items")
    room.write(orders)
    process = room.start("run")
    room.wait_live("orders")
    (pid,) = workers(room.folder)
    room.write(orders + items)
    room.wait_live("items")
    assert pid in workers(room.folder), "the other one is left in peace"
    assert "items: it is new in syncline.toml and begins" in room.lines
    room.write(items)
    wait_until(lambda: pid not in workers(room.folder), "its end")
    assert (
        "orders: it is gone from syncline.toml and stops; syncline remove FROM TO --name orders" in room.lines
    )
    write_row(room.folder / "shop.db", 1000, "items")
    wait_until(lambda: (1000, "new") in rows(room.folder / "items.db", "items"), "what goes on")
    room.write(orders + items)  # it comes back where it was
    room.wait_live("orders")
    assert room.status("orders")["figures"]["tables"][0]["rows_copied"] == 0
    assert process.poll() is None


def test_a_run_of_some_pipelines_takes_up_no_others(room: Room) -> None:
    orders, items = section(room, "orders", "orders"), section(room, "items", "orders")
    room.write(orders)
    room.start("run", "orders")
    room.wait_live("orders")
    room.write(orders + "workers = 1\n" + items)
    wait_until(lambda: "orders: its configuration has changed" in room.lines, "that the file is read")
    room.wait_live("orders")
    assert room.status("items")["state"] == "never run"
    assert len(workers(room.folder)) == 1


def test_schedules_come_change_and_go(room: Room) -> None:
    room.write(section(room, "orders", "orders"))
    process = room.start("run")
    room.wait_live("orders")
    room.write(section(room, "orders", "orders", 'schedule = "every 1h"\n'))
    wait_until(lambda: len(room.reports()) == 1, "the first run by the schedule")
    status = room.wait("orders", lambda one: one["state"] == "scheduled" and one["next_run"])
    far = status["next_run"]
    room.write(section(room, "orders", "orders", 'schedule = "every 30m"\n'))
    wait_until(lambda: len(room.reports()) == 2, "the first run by the other schedule")
    room.wait("orders", lambda one: one["next_run"] is not None and one["next_run"] < far)
    room.write(section(room, "orders", "orders"))
    room.wait_live("orders")
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: (1000, "new") in rows(room.folder / "orders.db"), "the row")
    assert room.status("orders")["next_run"] is None
    assert process.poll() is None


def test_budgets_and_alarms_are_taken_up_and_disturb_no_worker(room: Room) -> None:
    room.write(section(room, "orders", "orders"))
    room.start("run")
    room.wait_live("orders")
    (pid,) = workers(room.folder)
    assert room.status("orders")["alarms"] == []
    told = room.folder / "told"
    alarm = f"""[alarm]\ncommand = "sh -c 'cat > {told}'"\n"""
    room.write(section(room, "orders", "orders", '[pipelines.orders.budget]\nlag = "0s"\n' + alarm))
    status = room.wait("orders", lambda one: bool(one["alarms"]))
    assert [one["kind"] for one in status["alarms"]] == ["lag"]
    wait_until(lambda: told.exists() and '"kind":"lag"' in told.read_text(), "the alarm")
    room.write(section(room, "orders", "orders"))
    room.wait("orders", lambda one: not one["alarms"])
    assert workers(room.folder) == [pid]


def test_what_only_a_new_start_takes_up_is_said(room: Room) -> None:
    orders = section(room, "orders", "orders")
    room.write(orders)
    room.start("run")
    room.wait_live("orders")
    room.write(orders + '[metrics]\nprometheus = "9187"\n[log]\nformat = "json"\n')
    told = "[metrics] and [log] changed in syncline.toml: start syncline run again to take that up"
    room.wait("orders", lambda one: one["remark"] == told)
    assert told in room.call("status").out
    assert f"supervisor: {told}" in room.lines
    room.write(orders)
    room.wait("orders", lambda one: not one["remark"])


def test_a_new_pipeline_that_another_machine_has_waits_for_the_next_change(room: Room) -> None:
    orders, items = section(room, "orders", "orders"), section(room, "items", "orders")
    room.write(orders)
    room.start("run")
    room.wait_live("orders")
    there = WorkerRow("running", "elsewhere", "1:1", "2:2", since=time.time(), beat=time.time() + 60)
    with open_state(open_project(room.folder / "syncline.toml")) as state:
        state.put_worker("items", there)
    room.write(orders + items)
    wait_until(lambda: "cannot run pipeline items: machine elsewhere runs it" in room.lines, "the answer")
    with open_state(open_project(room.folder / "syncline.toml")) as state:
        state.put_worker("items", replace(there, phase="stopped"))
    room.write(orders + items + "# by now\n")
    room.wait_live("items")
    assert room.status("orders")["running"]
