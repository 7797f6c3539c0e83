"""The benchmark measures what it says: all figures are there, and nobody wins with wrong rows."""

from __future__ import annotations

import json
import subprocess
import sys

import psycopg
import pytest

from bench import BenchError, sheet
from bench.figures import CONTROL, NATIVE, PSQL, SYNCLINE, Run, summarise
from bench.workload import TABLE, Workload, fill, require_equal
from services import Server
from tests.cli.command import ROOT
from tests.conftest import Databases

BACKLOGS = ["1000row", "single", "update", "mixed"]
RATIOS = ["snapshot_vs_native", "snapshot_vs_psql", *(f"catchup_{kind}_vs_native" for kind in BACKLOGS)]


@pytest.mark.timeout(300)
def test_the_smallest_run_has_every_figure(postgres_server: Server, postgres_b_server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "postgres", "--json", "--rows", "2000", "--rounds", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["benchmark"], document["rows"], document["rounds"]) == ("postgres", 2000, 1)
    assert all(document[ratio] > 0 for ratio in RATIOS)
    assert list(document["aa_control"]) == ["snapshot", *BACKLOGS]
    assert list(document["cpu_seconds_per_million"]) == ["snapshot", *BACKLOGS]
    assert all(seconds > 0 for seconds in document["cpu_seconds_per_million"].values())
    assert document["peak_rss_mib"] > 20
    assert document["machine"]["cores"] >= 1
    assert len(document["machine"]["load_average_at_start"]) == 3
    assert document["servers"]["target"]["server_version"]
    _check_figures(document["figures"])
    assert all(ratio in sheet.text(document) for ratio in RATIOS)


def _check_figures(figures: list[dict[str, object]]) -> None:
    found = {(str(figure["work"]), str(figure["contender"])): figure for figure in figures}
    following = {(work, name) for work in ("start", *BACKLOGS) for name in (NATIVE, CONTROL, SYNCLINE)}
    assert set(found) == following | {("snapshot", name) for name in (PSQL, NATIVE, CONTROL, SYNCLINE)}
    changes = {work: found[work, SYNCLINE]["changes"] for work in ("snapshot", "start", *BACKLOGS)}
    assert changes == {
        "snapshot": 2000,
        "start": 0,
        "1000row": 2000,
        "single": 400,
        "update": 1000,
        "mixed": 2000,
    }
    assert all(len(figure["seconds"]) == 1 for figure in figures)  # type: ignore[arg-type]
    for work in ("snapshot", *BACKLOGS):
        cpu = found[work, SYNCLINE]["cpu_seconds"]
        assert isinstance(cpu, dict)
        assert {name.partition(" ")[0] for name in cpu} <= {SYNCLINE, "backend", "walsender", "other"}


def test_a_ratio_above_one_is_in_favour_of_syncline() -> None:
    document = summarise(
        [
            *(Run("snapshot", PSQL, 10, seconds, {}, 0.0) for seconds in (1.0, 2.0, 9.0)),
            *(Run(work, NATIVE, 10, 8.0, {}, 0.0) for work in ("snapshot", "start", "single")),
            *(Run(work, CONTROL, 10, 6.0, {}, 0.0) for work in ("snapshot", "start", "single")),
            *(
                Run(work, SYNCLINE, 10, 4.0, {SYNCLINE: 3.0}, 50.0)
                for work in ("snapshot", "start", "single")
            ),
        ]
    )
    assert document["snapshot_vs_psql"] == 0.5
    assert document["snapshot_vs_native"] == document["catchup_single_vs_native"] == 2.0
    assert document["aa_control"] == {"snapshot": 0.75, "single": 0.75}
    assert document["cpu_seconds_per_million"] == {"snapshot": 300_000.0, "single": 300_000.0}
    assert document["peak_rss_mib"] == 50.0


def test_backlogs_hold_as_many_changes_as_they_say(postgres_database: Databases) -> None:
    with psycopg.connect(postgres_database(), autocommit=True) as source:
        fill(source, 3000)
        source.execute("CREATE TABLE seen (kind text, id bigint, xid xid8)")
        source.execute(
            "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO seen VALUES (tg_op, coalesce(new.id, old.id), pg_current_xact_id()); RETURN NULL;"
            " END $$"
        )
        source.execute(
            f"CREATE TRIGGER see AFTER INSERT OR UPDATE OR DELETE ON {TABLE}"
            " FOR EACH ROW EXECUTE FUNCTION see()"
        )
        workload = Workload(source, 3000)
        counted = {}
        for kind in [*workload.backlogs, *workload.backlogs]:
            source.execute("TRUNCATE seen")
            said = workload.write(kind)
            query = "SELECT kind, count(*), count(DISTINCT xid) FROM seen WHERE id > 0 GROUP BY 1 ORDER BY 1"
            counted[kind] = source.execute(query).fetchall()
            assert said == sum(count for _, count, _ in counted[kind])
            last = source.execute("SELECT id FROM seen ORDER BY xid DESC LIMIT 1").fetchall()
            assert last == [(workload.sentinel,)]
            again = "SELECT id FROM seen GROUP BY id HAVING count(*) > 1"
            assert source.execute(again).fetchall() == [], "no change of a backlog undoes another"
    assert counted == {
        "start": [],
        "1000row": [("INSERT", 3000, 3)],
        "single": [("INSERT", 600, 600)],
        "update": [("UPDATE", 1000, 1)],
        "mixed": [("DELETE", 600, 3), ("INSERT", 1200, 3), ("UPDATE", 1200, 3)],
    }


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (f"DELETE FROM {TABLE} WHERE id = 7", "rows"),
        (f"UPDATE {TABLE} SET weight = 0 WHERE id = 7", "rows"),
        (f"ALTER TABLE {TABLE} DROP CONSTRAINT {TABLE}_pkey", "indexes"),
        (f"ALTER TABLE {TABLE} ALTER COLUMN title DROP NOT NULL", "columns"),
    ],
)
def test_a_target_that_is_not_equal_spoils_the_figures(
    postgres_database: Databases, spoil: str, what: str
) -> None:
    with (
        psycopg.connect(postgres_database(), autocommit=True) as source,
        psycopg.connect(postgres_database(), autocommit=True) as target,
    ):
        fill(source, 1000)
        fill(target, 1000)
        require_equal(source, target, "somebody")
        target.execute(spoil)
        with pytest.raises(BenchError, match=f"its {what} are"):
            require_equal(source, target, "somebody")
