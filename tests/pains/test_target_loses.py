"""What the target loses under a run: a table that somebody drops there, the server itself, the fence."""

from __future__ import annotations

import pytest

from services import Server
from syncline.errors import Superseded
from tests.runs import Following, Notices, connector, execute, sync, value, verdicts, wait_for

from .watch import equal, live


@pytest.mark.parametrize("follows", [True, False], ids=["following", "restart"])
def test_a_table_that_is_dropped_there_stops_by_name(pair: tuple[str, str], follows: bool) -> None:
    """The others go on, and one command brings it back."""
    source, target = pair
    execute(source, "CREATE TABLE other (id int PRIMARY KEY)")
    with Following(source, target) as following:
        live(target, 2)
        if follows:
            execute(target, "DROP TABLE t")
            execute(source, "UPDATE t SET n = -n", "INSERT INTO other VALUES (1)")
            wait_for(lambda: value(target, "SELECT count(*) FROM other") == 1, "the other table's row")
            assert following.error is None
    if not follows:
        execute(target, "DROP TABLE t")
        execute(source, "UPDATE t SET n = -n", "INSERT INTO other VALUES (1)")
    report = sync(source, target)
    assert verdicts(report) == {"other": "equal", "t": "failed"}
    (detail,) = (table.detail for table in report.tables if str(table.table) == "t")
    assert detail == "the target has no such table any more; copy it anew with --replace --tables 't'"
    assert verdicts(sync(source, target, replace=True)) == {"other": "equal", "t": "equal"}
    equal(source, target)


def test_a_server_that_is_stopped_while_rows_are_copied_into_it(
    pair: tuple[str, str], postgres_b_server: Server
) -> None:
    source, target = pair
    calls: list[str] = []

    def stop(schema: object, *_: object, **__: object) -> None:
        calls.append(str(schema))
        if len(calls) == 3:
            postgres_b_server.kill()
            postgres_b_server.start()

    notices = Notices()
    report = sync(source, target, after={"read": stop}, span_rows=20, workers=1, observer=notices)
    assert verdicts(report) == {"t": "equal"}
    assert [text for text in notices.texts if "trying again" in text]
    assert report.tables[0].rows_copied == value(source, "SELECT count(*) FROM t")
    equal(source, target)


def test_a_copy_whose_stream_another_worker_takes_ends(pair: tuple[str, str]) -> None:
    """And the next one goes on with the spans that are left."""
    source, target = pair
    calls: list[str] = []

    def take_over(schema: object, *_: object, **__: object) -> None:
        calls.append(str(schema))
        if len(calls) == 3:
            other = connector(target).target(target)
            other.claim(other.streams()[0])
            other.close()

    with pytest.raises(Superseded):
        sync(source, target, after={"read": take_over}, span_rows=20, workers=1)
    copied = value(target, "SELECT count(*) FROM t")
    assert copied == value(target, "SELECT sum(rows) FROM syncline.spans")
    report = sync(source, target)
    assert verdicts(report) == {"t": "equal"}
    equal(source, target)
