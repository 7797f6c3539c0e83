"""`syncline run` and its workers: started, killed, paused, scheduled and stopped, in real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ..cli.command import start
from .broken import BROKEN, Broken
from .conftest import PIPELINE
from .project import BOUND_SECONDS, Room, make_shop, rows, wait_until, workers, write_row


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(BOUND_SECONDS)


def synced(room: Room) -> bool:
    return rows(room.folder / "shop.db") == rows(room.folder / "copy.db")


def test_once_brings_everything_up_and_the_next_time_goes_on(room: Room) -> None:
    first = room.call("run", "--once", "--json")
    assert first.code == 0, first
    (table,) = first.document["pipelines"]["orders"]["tables"]
    assert (table["verdict"], table["rows_copied"]) == ("equal", 100)
    write_row(room.folder / "shop.db", 1000)
    second = room.call("run", "orders", "--once", "--json")
    (table,) = second.document["pipelines"]["orders"]["tables"]
    assert (table["verdict"], table["rows_copied"], table["changes_applied"]) == ("equal", 0, 1)
    status = room.status("orders")
    assert (status["state"], status["running"], status["exit_code"]) == ("stopped", False, 0)
    reports = room.call("reports", "--json").document["reports"]
    assert [report["exit"] for report in reports] == [0, 0]
    assert "1 equal" in room.call("reports").out
    logs = room.call("logs", "orders").out
    assert "orders is equal, 0 rows copied, 1 changes applied" in logs


def test_once_ends_with_the_worst_code(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + PIPELINE.format(name="broken", source="sqlite:///none.db", target="sqlite:///other.db"))
    outcome = room.call("run", "--once")
    assert outcome.code == 2
    assert "syncline: broken: cannot " in outcome.err
    assert "Traceback" not in outcome.err
    assert synced(room)
    assert room.status("broken")["trouble"]["code"] == "refused"


def test_it_follows_shows_itself_and_ends_cleanly(room: Room) -> None:
    process = room.start("run")
    status = room.wait_live("orders")
    (pid,) = workers(room.folder)
    assert (status["state"], status["pid"]) == ("running", pid)
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: synced(room), "the row")
    room.wait("orders", lambda one: one["figures"]["tables"][0]["changes_applied"] == 1)
    told_of = room.wait("orders", lambda one: one["figures"]["lag"] == 0)  # looked at once a second
    told = told_of["figures"]
    assert told["position"]
    assert told["lag_seconds"] < BOUND_SECONDS
    assert told["stream"].startswith("syncline_")
    (shown,) = room.call("status", "--json").document["pipelines"]
    assert shown.keys() == told_of.keys()
    picture = room.call("status").out
    assert "● running" in picture
    assert f"process {pid}" in picture
    assert end(process) == 143
    assert workers(room.folder) == []
    after = room.status("orders")
    assert (after["state"], after["running"], after["pid"]) == ("stopped", False, None)
    assert "was live" in room.call("status").out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_says_up_to_where_it_came(room: Room, number: int) -> None:
    process = room.start("run", "--json")
    room.wait_live("orders")
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: synced(room), "the row")
    assert end(process, number) == 128 + number
    position = room.status("orders")["figures"]["position"]
    by = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    assert f"orders: stopped: all is committed up to position {position}\n" in room.lines
    told = f"stopped by {by}: what was committed stays; run the same command again to go on"
    assert f"syncline: {told}\n" in room.lines
    assert "cannot" not in room.lines
    document = json.loads(room.lines[room.lines.index("{\n") :])
    assert (document["exit"], document["error"]["message"]) == (128 + number, told)
    assert position in document["pipelines"]["orders"]["error"]["message"]


def test_killing_the_supervisor_leaves_no_orphan_and_the_next_goes_on(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    process.kill()
    process.wait()
    wait_until(lambda: not workers(room.folder), "the worker's end")
    assert room.status("orders")["state"] == "died"
    write_row(room.folder / "shop.db", 1000)
    again = room.start("run")
    room.wait_live("orders")
    wait_until(lambda: synced(room), "the row")
    assert room.status("orders")["figures"]["tables"][0]["rows_copied"] == 0
    assert end(again) == 143


def test_a_supervisor_that_starts_at_once_waits_for_the_dying_worker(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    process.kill()
    process.wait()
    room.start("run")
    old = room.status("orders")["pid"]
    room.wait("orders", lambda one: one["state"] == "running" and one["pid"] != old)
    room.wait_live("orders")
    assert len(workers(room.folder)) == 1


def test_a_worker_that_is_killed_is_started_again(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    for number in range(2):
        (pid,) = workers(room.folder)
        os.kill(pid, signal.SIGKILL)
        write_row(room.folder / "shop.db", 1000 + number)
        wait_until(lambda old=pid: workers(room.folder) not in ([], [old]), "another worker")
        wait_until(lambda: synced(room), "the row")
    room.wait_live("orders")
    assert "its worker was ended by signal 9; starting again in" in room.lines
    assert "its worker was ended by signal 9" in room.call("logs", "orders").out
    assert end(process) == 143


def test_pause_and_resume(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    assert room.call("pause", "orders").code == 0
    room.wait("orders", lambda one: one["state"] == "paused" and not one["running"])
    assert workers(room.folder) == []
    write_row(room.folder / "shop.db", 1000)
    assert end(process) == 143
    process = room.start("run")  # the wish outlives the supervisor
    room.wait("orders", lambda one: one["state"] == "paused")
    assert not synced(room)
    assert room.call("resume").code == 0
    room.wait_live("orders")
    wait_until(lambda: synced(room), "the row")
    assert end(process) == 143


def test_a_second_supervisor_is_refused(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    second = room.call("run")
    assert second.code == 2
    assert second.err == (
        f"syncline: cannot run pipeline orders: process {process.pid} of this machine runs it;"
        " leave it to that one, or stop it first\n"
    )
    assert room.status("orders")["running"]
    assert end(process) == 143


def test_a_worker_whose_stream_was_taken_stops_and_says_so(room: Room, tmp_path: Path) -> None:
    """The same configuration on another machine, as far as this one's locks can tell: another XDG state."""
    first = room.start("run")
    room.wait_live("orders")
    second = room.start("run", XDG_STATE_HOME=str(tmp_path / "elsewhere"))
    write_row(room.folder / "shop.db", 1000)
    status = room.wait("orders", lambda one: one["trouble"] and not one["running"])
    assert status["trouble"]["code"] == "superseded"
    assert first.wait(BOUND_SECONDS) == 3
    assert "it is not started again until syncline resume orders" in room.lines
    wait_until(lambda: synced(room), "the row")
    assert len(workers(room.folder)) == 1
    assert end(second) == 143


def test_an_operators_matter_is_shown_with_its_remedy_and_tried_again_slowly(room: Room) -> None:
    make_shop(room.folder / "copy.db", rows=3)
    process = room.start("run")
    status = room.wait("orders", lambda one: one["state"] == "waiting" and one["trouble"])
    assert "holds other rows in orders" in status["trouble"]["message"]
    assert "use syncline resync orders orders" in status["trouble"]["remedy"]
    assert status["retry_at"] - status["since"] >= 10
    status = room.wait("orders", lambda one: bool(one["alarms"]))
    (alarm,) = status["alarms"]
    assert (alarm["kind"], alarm["message"]) == ("operator", status["trouble"]["message"])
    assert alarm["since"] <= time.time()
    shown = room.call("status").out
    assert "next try in" in shown
    assert shown.count("holds other rows in orders") == 1  # the alarm is about the last error
    assert "orders: alarm since " in shown
    assert alarm["remedy"] in shown
    (room.folder / "copy.db").unlink()
    assert room.call("resume", "orders").code == 0  # now, not when its time comes
    room.wait_live("orders")
    room.wait("orders", lambda one: not one["alarms"])
    assert end(process) == 143


def test_the_state_database_may_be_deleted_at_any_time(room: Room) -> None:
    """Promise 1: it holds nothing that cannot be lost."""
    process = room.start("run")
    room.wait_live("orders")
    database = room.state_database
    for file in database.parent.glob("state.db*"):
        file.unlink()
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: synced(room), "the row")
    room.wait_live("orders")  # it was made anew, and is written to
    assert end(process) == 143
    for file in database.parent.glob("state.db*"):
        file.unlink()
    write_row(room.folder / "shop.db", 1001)
    outcome = room.call("run", "--once", "--json")
    assert outcome.code == 0, outcome
    (table,) = outcome.document["pipelines"]["orders"]["tables"]
    assert (table["verdict"], table["rows_copied"]) == ("equal", 0)


def test_a_state_database_that_cannot_be_written_to_stops_nothing(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(f'[state]\nurl = "sqlite:///own/state.db"\n{text}')
    (room.folder / "own").write_text("a file where a folder should be")
    process = room.start("run")
    wait_until(lambda: synced(room), "the copy")
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: synced(room), "the row")
    wait_until(lambda: "the pipeline goes on" in room.lines, "the worker's complaint")
    assert "the state database" in room.lines
    status = room.call("status")
    assert status.code == 3
    assert "losing it loses no data" in status.err or "name another in [state]" in status.err
    (room.folder / "own").unlink()
    room.wait_live("orders")
    assert end(process) == 143


def test_a_schedule_runs_again_and_again_and_never_twice_at_once(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + 'schedule = "every 1s"\n')
    process = room.start("run", SYNCLINE_FAILPOINTS="copy.before_commit=sleep:3")  # longer than the interval

    def ran(times: int) -> bool:
        most.append(len(workers(room.folder)))
        return len(room.reports()) >= times

    most: list[int] = []
    wait_until(lambda: ran(1), "the first run")
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: ran(4), "the fourth run")
    wait_until(lambda: synced(room), "the row")
    assert max(most) == 1
    status = room.status("orders")
    assert status["state"] in ("scheduled", "running")
    assert status["next_run"]
    room.call("pause", "orders")
    room.wait("orders", lambda one: one["state"] == "paused" and one["next_run"] is None)
    room.call("resume", "orders")
    count = len(room.reports())
    wait_until(lambda: ran(count + 1), "a run after the pause")
    assert end(process) == 143


def test_between_two_scheduled_runs_it_waits_for_the_next_one(room: Room) -> None:
    """However slow the supervisor is to hear that a worker has ended: here it stands still meanwhile."""
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + 'schedule = "every 1h"\n')
    process = room.start("run", SYNCLINE_FAILPOINTS="copy.before_commit=sleep:1")
    room.wait("orders", lambda one: one["running"])
    process.send_signal(signal.SIGSTOP)
    seen: list[str] = []

    def compared(one: dict[str, Any]) -> bool:
        seen.append(one["state"])
        return bool(one["figures"]) and one["figures"]["tables"][0]["state"] == "equal"

    room.wait("orders", compared)
    seen += [room.status("orders")["state"] for _ in range(200)]  # longer than a process takes to end
    process.send_signal(signal.SIGCONT)

    def over(one: dict[str, Any]) -> bool:
        seen.append(one["state"])
        return one["state"] not in ("running", "ending")

    status = room.wait("orders", over)
    assert (status["state"], status["trouble"]) == ("scheduled", None)
    assert status["next_run"] > status["since"]
    assert set(seen) == {"running", "scheduled"}
    assert "next run in" in room.call("status").out
    assert end(process) == 143


def test_a_schedule_survives_the_loss_of_the_state_database(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + 'schedule = "every 1s"\n')
    process = room.start("run")
    wait_until(lambda: synced(room), "the first run")
    for file in room.state_database.parent.glob("state.db*"):
        file.unlink()
    write_row(room.folder / "shop.db", 1000)
    wait_until(lambda: synced(room), "a run afterwards")
    assert end(process) == 143


def test_a_second_signal_ends_at_once(room: Room) -> None:
    """The first is held up by a commit that hangs; nobody waits for it, and nobody is left."""
    process = room.start("run", SYNCLINE_FAILPOINTS="copy.before_commit=sleep:60")
    wait_until(lambda: "orders: copying" in room.lines, "the copy")
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "once more to end at once" in room.lines, "the first answer")
    process.send_signal(signal.SIGINT)
    assert process.wait(BOUND_SECONDS) == 130
    wait_until(lambda: not workers(room.folder), "the worker's end")
    assert "Traceback" not in room.lines


def test_remove_takes_everything_away_and_a_later_run_begins_anew(room: Room) -> None:
    process = room.start("run")
    room.wait_live("orders")
    (pid,) = workers(room.folder)
    refused = room.call("remove", "orders")
    assert refused.code == 2
    assert refused.err == (
        f"syncline: cannot remove pipeline orders: process {pid} works on it; syncline pause orders first\n"
    )
    room.call("pause")
    room.wait("orders", lambda one: not one["running"])
    removed = room.call("remove", "orders")
    assert removed.code == 0, removed
    assert "is taken away from both ends" in removed.out
    for name in ("shop.db", "copy.db"):
        with_ours = [
            row for row in rows(room.folder / name, "sqlite_master") if str(row[1]).startswith("_syncline")
        ]
        assert with_ours == [], name
    assert room.status("orders")["state"] == "paused"  # the supervisor that runs does not begin anew
    assert end(process) == 143
    assert room.call("remove", "orders").code == 0
    assert room.status("orders")["state"] == "never run"
    assert room.call("logs", "orders").code == 2
    assert room.call("remove", "orders").out == "orders: there was nothing to take away\n"
    assert room.call("run", "--once").code == 0, "rows that are there already are adopted"


def test_two_pipelines_over_one_table_are_refused_by_name(room: Room) -> None:
    """Their globs do not tell, the tables do: whoever comes second is refused, and nothing of it is left."""
    source, target = f"sqlite:///{room.folder}/shop.db", f"sqlite:///{room.folder}/copy.db"
    one = PIPELINE.format(name="orders", source=source, target=target) + 'include = ["o*"]\n'
    other = PIPELINE.format(name="all", source=source, target=target) + 'include = ["*s"]\n'
    room.write(one + other)
    assert room.call("run", "orders", "--once").code == 0
    refused = room.call("run", "all", "--once")
    assert refused.code == 2
    assert "cannot sync table orders: pipeline orders keeps it equal already" in refused.err
    room.call("remove", "orders")
    both = room.call("run", "--once", "--json")
    assert both.code == 2
    errors = [word["error"] for word in both.document["pipelines"].values() if word["error"]]
    assert errors
    assert all("keeps it equal already" in error["message"] for error in errors)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_following_a_log_ends_with_a_signal(room: Room, number: int) -> None:
    room.call("run", "--once")
    with start(
        *("logs", "orders", "-f", "--config", str(room.folder / "syncline.toml")), env=room.env
    ) as process:
        assert process.stdout is not None
        line = next(text for text in process.stdout if "orders is equal" in text)
        assert line
        room.call("run", "--once")
        assert any("1 changes" in text or "orders is equal" in text for text in process.stdout)
        process.send_signal(number)
        process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode in (0, -number)


def test_tables_are_carried_by_their_rules(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + '[pipelines.orders.tables.orders]\nrename = "bills"\nwhere = "id < 10"\n')
    outcome = room.call("run", "--once")
    assert outcome.code == 0, outcome
    assert len(rows(room.folder / "copy.db", "bills")) == 10


@pytest.mark.parametrize("broken", BROKEN[:: len(BROKEN) // 6], ids=lambda broken: broken.name)
def test_every_command_answers_a_mistake_in_the_configuration(room: Room, broken: Broken) -> None:
    room.write(broken.text)
    outcome = room.call("run", "--json")
    assert outcome.code == 2
    assert outcome.err.startswith("syncline: cannot read /")
    assert f"syncline.toml: line {broken.line}: " in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.document["exit"] == 2
    assert outcome.document["error"]["problems"][0] == outcome.document["error"]["message"]
    assert outcome.document["error"]["remedy"] or "it is not TOML" in outcome.err
    assert room.call("status").err == outcome.err


def test_what_never_ran_can_be_asked_for_too(room: Room) -> None:
    assert room.call("remove", "orders").out == "orders: there was nothing to take away\n"
    assert room.call("status").code == room.call("pause").code == room.call("resume").code == 0
    assert room.call("reports").out == "no run has ended yet\n"
    assert room.call("logs", "orders").err.endswith("it has never run; start it with syncline run\n")
    room.write("")
    assert "there are no pipelines" in room.call("status").out
    assert room.call("run").err.endswith("it has no pipelines; add one, as [pipelines.NAME]\n")
