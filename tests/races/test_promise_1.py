"""Target first: rows and position are one transaction, and the log is released only after it (Promise 1)."""

from __future__ import annotations

import psycopg

from syncline.errors import Interrupted
from tests.conftest import Databases
from tests.runs import Following, value, wait_for

# The transaction's own id, whatever savepoints the writes stand under.
WATCH = """
CREATE TABLE public.seen (place text, xid text);
CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO public.seen VALUES (TG_TABLE_NAME, pg_current_xact_id()::text); RETURN NULL; END$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON public.t FOR EACH ROW EXECUTE FUNCTION public.note();
ALTER TABLE public.t ENABLE ALWAYS TRIGGER note;
CREATE TRIGGER note AFTER UPDATE OF position ON syncline.streams FOR EACH ROW EXECUTE FUNCTION public.note();
ALTER TABLE syncline.streams ENABLE ALWAYS TRIGGER note;
"""


def test_rows_and_position_are_one_transaction_and_released_after_it(
    postgres_database: Databases, postgres_b_database: Databases
) -> None:
    source, target = postgres_database(), postgres_b_database()
    with psycopg.connect(source) as connection:
        connection.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        connection.execute("INSERT INTO t VALUES (1, 0)")
    released: list[str] = []

    def look(stream: str, upto: str) -> None:
        committed = f"SELECT position::pg_lsn >= '{upto}' FROM syncline.streams WHERE stream = '{stream}'"
        assert value(target, committed) is True, "released before it was committed"
        released.append(upto)

    with Following(source, target, before={"release": look}) as following:
        live = "SELECT count(*) FROM syncline.tables WHERE state = 'live'"
        wait_for(
            lambda: value(target, "SELECT to_regclass('syncline.tables') IS NOT NULL") is True, "a start"
        )
        wait_for(lambda: value(target, live) == 1, "the copy")
        with psycopg.connect(target) as connection:
            connection.execute(WATCH)
        for number in range(1, 4):
            with psycopg.connect(source) as connection:
                connection.execute(f"UPDATE t SET n = {number}")
            wait_for(
                lambda number=number: (
                    value(target, "SELECT n FROM t") == number or following.error is not None
                ),
                "the change",
            )
    rows = "SELECT array_agg(DISTINCT xid ORDER BY xid) FROM public.seen WHERE place = '{}'"
    assert isinstance(following.error, Interrupted), following.error
    wrote = value(target, rows.format("t"))
    assert isinstance(wrote, list)
    assert len(wrote) == 3
    moved = value(target, rows.format("streams"))
    assert isinstance(moved, list)
    assert set(wrote) <= set(moved), "the position moved in another transaction than the row"
    assert isinstance(following.error, Interrupted)
    assert released
