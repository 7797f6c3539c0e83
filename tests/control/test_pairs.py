"""Every command that works on two stores takes them by themselves, or as a pipeline of syncline.toml."""

from __future__ import annotations

import pytest

from .project import Room, rows, workers, write_row


def urls(room: Room) -> tuple[str, str]:
    return f"sqlite:///{room.folder}/shop.db", f"sqlite:///{room.folder}/copy.db"


def ours(room: Room) -> list[str]:
    """What was made at both ends."""
    found = [row for name in ("shop.db", "copy.db") for row in rows(room.folder / name, "sqlite_master")]
    return [str(row[1]) for row in found if str(row[1]).startswith("_syncline")]


def test_a_pipeline_is_synced_once_in_the_foreground(room: Room) -> None:
    text = (room.folder / "syncline.toml").read_text()
    room.write(text + '[pipelines.orders.tables.orders]\nwhere = "id < 5000"\n')
    outcome = room.call("sync", "orders")
    assert outcome.code == 0, outcome
    assert "1 table equal · 100 rows copied" in outcome.out
    assert "orders: comparing" in outcome.err
    status = room.status("orders")
    assert (status["state"], status["running"], status["exit_code"]) == ("stopped", False, 0)
    write_row(room.folder / "shop.db", 1000)
    write_row(room.folder / "shop.db", 9000)  # outside of the pipeline's rule
    again = room.call("run", "--once", "--json")  # the same stream goes on
    (table,) = again.document["pipelines"]["orders"]["tables"]
    assert (table["verdict"], table["rows_copied"]) == ("equal", 0)
    assert rows(room.folder / "copy.db")[-1] == (1000, "new")
    third = room.call("sync", "orders", "--json", "--quiet")
    assert third.code == 0, third
    assert third.document["stream"] == again.document["pipelines"]["orders"]["stream"]
    assert [report["exit"] for report in room.reports()] == [0, 0, 0]


def test_a_pipeline_that_a_worker_has_is_not_synced_beside_it(room: Room) -> None:
    room.start("run")
    room.wait_live("orders")
    (pid,) = workers(room.folder)
    outcome = room.call("sync", "orders")
    assert outcome.code == 2
    told = f"cannot sync pipeline orders: process {pid} works on it; syncline pause orders first"
    assert outcome.err == f"syncline: {told}\n"
    assert room.call("sync", "orders", "--dry-run").code == 0, "touches nothing"
    assert workers(room.folder) == [pid]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ["sync", "orders", "--tables", "x"],
            "--tables is not for a pipeline: its section",
        ),
        (["sync", "orders", "--where", "t=id > 1"], "--store, --where or --transforms is not for a pipeline"),
        (["sync", "orders", "--rate-limit", "1 rows/s"], "--rate-limit is not for a pipeline"),
        (["sync", "orders", "--replace"], "use syncline resync orders"),
        (["sync", "orders", "--remove"], "use syncline remove orders"),
        (["check", "orders", "--where", "t=id > 1"], "leave --store, --where and --transforms away"),
        (["remove", "orders", "--name", "x"], "--name tells streams between FROM and TO apart"),
        (["sync", "order"], "did you mean orders?"),
        (
            ["sync", "orders", "again"],
            "or one pipeline; 2 words were given; see syncline sync --help",
        ),
        (["remove", "sqlite:///shop.db"], "1 word was given; see syncline remove --help"),
        (["resync", "sqlite:///shop.db"], "resync takes two databases, FROM and TO, or one pipeline"),
        (["parked", "list", "orders", "x"], "see syncline parked list --help"),
    ],
)
def test_what_cannot_be_meant_is_one_line(room: Room, arguments: list[str], why: str) -> None:
    outcome = room.call(*arguments)
    assert (outcome.code, outcome.out) == (2, ""), outcome
    assert why in outcome.err
    assert outcome.err.count("\n") == 1


def test_check_knows_the_rules_that_sync_knows(room: Room) -> None:
    for option in (
        ["--where", "orders=none > 3"],
        ["--store", "orders.none=text"],
        ["--store", "orders.id=uuid"],
    ):
        refused = room.call("sync", *urls(room), "--quiet", *option)
        assert refused.code == 2, refused
        checked = room.call("check", *urls(room), "--json", *option)
        assert checked.code == 2, checked
        told = refused.err.removeprefix("syncline: cannot ").rstrip()
        problems = checked.document["problems"]
        found = [f"{one['operation']} {one['subject']}: {one['reason']}" for one in problems]
        assert any(told.startswith(one) for one in found), (told, found)
    assert (
        room.call("check", *urls(room), "--where", "orders=id > 3", "--store", "orders.note=text").code == 0
    )


def test_two_databases_are_removed_from_and_a_pipeline_that_is_gone_from_the_file(room: Room) -> None:
    assert room.call("sync", *urls(room), "--quiet", "--tables", "none").code == 2
    assert room.call("run", "--once").code == 0
    assert ours(room)
    outcome = room.call("remove", *urls(room))
    assert (outcome.code, outcome.out) == (0, "there was nothing to take away\n"), outcome
    assert ours(room)
    room.write("")
    outcome = room.call("remove", *urls(room), "--name", "orders")
    assert outcome.code == 0, outcome
    assert "is taken away from both ends" in outcome.out
    assert ours(room) == []
    assert len(rows(room.folder / "copy.db")) == 100
