"""What is exported, by real clients and listeners: a UDP socket, an HTTP request."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from syncline.errors import NeedsOperator
from syncline.observe.exporters import DogStatsD, PrometheusPort
from syncline.observe.figures import Figures, TableFigures
from syncline.observe.names import METRICS, table

ROOT = Path(__file__).resolve().parents[2]
FIGURES = Figures(
    at=1000.0,
    tables=(TableFigures('odd"name', "live", rows_copied=7, changes_applied=3), TableFigures("b", "failed")),
    lag=12,
    lag_at=999.0,
    lag_since=900.0,
    end_to_end_seconds=0.5,
    synced_at=990.0,
    still_since=970.0,
    retained=4096,
    parked=2,
)


def test_the_documented_table_is_the_one_of_the_code() -> None:
    """`python -m syncline.observe.names` prints it."""
    assert table() in (ROOT / "docs" / "metrics.md").read_text()
    assert len({metric.prometheus for metric in METRICS}) == len(METRICS)


def scraped(port: int) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_prometheus_reads_the_port() -> None:
    latest = {"orders": FIGURES}
    port = PrometheusPort("127.0.0.1", 0, lambda: latest, lambda: 1000.0)
    try:
        found = scraped(port.port)
        of = frozenset({("pipeline", "orders")})
        assert found["syncline_lag_seconds", of] == 10
        assert found["syncline_standstill_seconds", of] == 30
        assert found["syncline_retained_log_bytes", of] == 4096
        assert found["syncline_parked_keys", of] == 2
        assert ("syncline_lag_rows", of) not in found, "the log of this source is in bytes"
        assert found["syncline_rows_copied_total", of | {("table", 'odd"name')}] == 7
        assert found["syncline_table_state", of | {("table", "b"), ("state", "failed")}] == 1
        told = {name for name, _ in found}
        assert told == {metric.prometheus for metric in METRICS if not metric.name.endswith("_rows")}
        latest["orders"] = Figures(at=1000.0, lag=5, lag_unit="rows")
        assert scraped(port.port)["syncline_lag_rows", of] == 5, "figures of the moment"
        with pytest.raises(NeedsOperator, match=r"cannot serve metrics at 127\.0\.0\.1:\d+: address already"):
            PrometheusPort("127.0.0.1", port.port, dict)
    finally:
        port.close()
    with pytest.raises(OSError, match="refused"):
        scraped(port.port)


def test_an_agent_gets_packets() -> None:
    latest = {"orders": FIGURES}
    notes: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as agent:
        agent.bind(("127.0.0.1", 0))
        agent.settimeout(20)
        sender = DogStatsD(
            "127.0.0.1", agent.getsockname()[1], 0.05, ["env:test"], lambda: latest, notes.append
        )
        got: set[str] = set()

        def wait_for(line: str) -> None:
            deadline = time.monotonic() + 20
            while line not in got:
                assert time.monotonic() < deadline, got
                got.update(agent.recv(65536).decode().splitlines())

        wait_for("syncline.parked_keys:2.0|g|#pipeline:orders,env:test")
        wait_for("syncline.rows_copied:7|c|#pipeline:orders,table:odd_name,env:test")
        wait_for("syncline.retained_log_bytes:4096.0|g|#pipeline:orders,env:test")
        latest["orders"] = Figures(at=1.0, tables=(TableFigures('odd"name', "live", rows_copied=9),))
        wait_for("syncline.rows_copied:2|c|#pipeline:orders,table:odd_name,env:test")
        latest["orders"] = Figures(at=1.0, tables=(TableFigures('odd"name', "live", rows_copied=4),))
        wait_for("syncline.rows_copied:4|c|#pipeline:orders,table:odd_name,env:test")  # another worker's
        sender.close()
        names = {line.partition(":")[0] for line in got}
        assert names <= {metric.dogstatsd for metric in METRICS}, "nothing of the client's own is sent"
    assert notes == []


def test_an_agent_that_is_not_there_is_told_once_and_stops_nothing() -> None:
    notes: list[str] = []
    sender = DogStatsD("name.invalid", 8125, 0.02, [], lambda: {"orders": FIGURES}, notes.append)
    deadline = time.monotonic() + 20
    while not notes and time.monotonic() < deadline:
        time.sleep(0.05)
    sender.close()
    assert len(notes) == 1
    assert notes[0].startswith("cannot send metrics to name.invalid:8125: ")


def test_the_extras_are_loaded_only_when_they_are_asked_for() -> None:
    code = "import syncline.control.supervisor, sys; print({'datadog', 'prometheus_client'} & {*sys.modules})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"
