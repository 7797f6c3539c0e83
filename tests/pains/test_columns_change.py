"""Columns that change under a followed table: its own sentence, one command that resumes it, no other table
disturbed."""

from __future__ import annotations

import pytest

from tests.oracle import compare
from tests.runs import Following, execute, sync, value, verdicts, wait_for

from .watch import count, live

STATE = "SELECT state || ': ' || detail FROM syncline.tables WHERE name = 't'"


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN level int NOT NULL DEFAULT 7",
        "ALTER TABLE t ALTER COLUMN n TYPE text",
        "ALTER TABLE t DROP COLUMN note",
    ],
    ids=["a-column-added-with-a-default", "another-type", "a-column-dropped"],
)
def test_a_changed_table_stops_by_name_and_one_command_resumes_it(pair: tuple[str, str], change: str) -> None:
    source, target = pair
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    with Following(source, target, schema="freeze"):
        live(target, 2)
        execute(source, change)
        execute(source, "UPDATE t SET id = id + 1000 WHERE id = 1", "INSERT INTO other VALUES (1)")
        wait_for(lambda: value(target, "SELECT count(*) FROM other") == 1, "the other table's row")
        wait_for(lambda: str(value(target, STATE)).startswith("failed: "), "the table's stop")
    assert "copy it anew with --replace --tables 't'" in str(value(target, STATE))
    assert count(target, "id = 1001") == 0, "nothing is applied to a shape that it is not of"
    assert verdicts(sync(source, target, schema="freeze"))["t"] == "failed", "it is said again"
    assert verdicts(sync(source, target, replace=True, tables=("t",)))["t"] == "equal"
    assert compare(source, target) == []
