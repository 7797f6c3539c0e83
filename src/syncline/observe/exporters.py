"""Figures for those who keep them: as Prometheus text on a port, and to a DogStatsD agent.

Each needs an extra of its own, which is loaded only when it is asked for. Nothing here reports home: the
port is opened, and packets are sent, only where the configuration says.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import NeedsOperator, Refused
from .figures import Figures
from .names import METRICS

if TYPE_CHECKING:
    from prometheus_client import Metric as Family

Told = Callable[[], Mapping[str, Figures]]
"""Gives the latest figures by pipeline; called from other threads."""


class Exporter(Protocol):
    """Something that goes on telling figures until it is closed."""

    def close(self) -> None:
        """Stop; nothing is left behind."""


class PrometheusPort:
    """Answers HTTP requests for metrics at `host:port`, each with the figures of that moment.

    Refused without the extra, NeedsOperator when the port cannot be had."""

    def __init__(self, host: str, port: int, told: Told, clock: Callable[[], float] = time.time) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ModuleNotFoundError:
            raise _missing("prometheus") from None
        registry = CollectorRegistry()
        registry.register(_Collector(told, clock))
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise NeedsOperator(
                "serve", f"metrics at {host}:{port}", why, "name another address in [metrics]"
            ) from None
        self.port = int(self._server.server_port)

    def close(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, told: Told, clock: Callable[[], float]) -> None:
        self._told, self._clock = told, clock

    def describe(self) -> list[Family]:
        return []  # else registering it would collect

    def collect(self) -> Iterator[Family]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        figures, now = self._told(), self._clock()
        for metric in METRICS:
            kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            labels = ["pipeline", *metric.labels]
            family = kind(metric.prometheus, metric.meaning, labels=labels)
            for pipeline, one in sorted(figures.items()):
                for values, value in metric.read(one, now):
                    family.add_metric([pipeline, *values], value)
            yield family


class DogStatsD:
    """Sends figures to an agent at `host:port` every few seconds, in UDP packets nobody waits for.

    Counters are sent as what was added since. `tags` are added to everything. Refused without the extra;
    later trouble is told once, and once more after it was over."""

    def __init__(
        self, host: str, port: int, every: float, tags: Sequence[str], told: Told, note: Callable[[str], None]
    ) -> None:
        try:
            from datadog.dogstatsd.base import DogStatsd
        except ModuleNotFoundError:
            raise _missing("datadog") from None
        self._name, self._every, self._told, self._note = f"{host}:{port}", every, told, note
        logging.getLogger("datadog.dogstatsd").setLevel(logging.CRITICAL)  # its trouble is told by `note`
        self._client = DogStatsd(
            host=host,
            port=port,
            constant_tags=list(tags),
            disable_telemetry=True,
            origin_detection_enabled=False,
        )
        self._counted: dict[tuple[str, ...], float] = {}
        self._failing = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dogstatsd", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send once more, and stop."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            self._client.close_socket()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            self._try()
        self._try()

    def _try(self) -> None:
        try:
            # The client hides errors of the network; that of a name that is not known is one of them.
            self._client.get_socket()
            self._send()
        except Exception as error:  # whatever it is: metrics stop nothing
            if not self._failing:
                self._note(f"cannot send metrics to {self._name}: {error}; pipelines go on")
            self._failing = True
        else:
            self._failing = False

    def _send(self) -> None:
        now = time.time()
        for pipeline, figures in self._told().items():
            for metric in METRICS:
                for values, value in metric.read(figures, now):
                    pairs = zip(metric.labels, values, strict=True)
                    tags = [f"pipeline:{pipeline}", *(f"{label}:{text}" for label, text in pairs)]
                    if metric.kind == "gauge":
                        self._client.gauge(metric.dogstatsd, value, tags=tags)
                        continue
                    key = (metric.name, pipeline, *values)
                    before, self._counted[key] = self._counted.get(key, 0.0), value
                    # A new worker begins at 0 again.
                    added = value - before if value >= before else value
                    if added:
                        self._client.increment(metric.dogstatsd, int(added), tags=tags)


def _missing(extra: str) -> Refused:
    return Refused(
        "export", "metrics", f"the extra {extra} is not installed", f"pip install 'syncline[{extra}]'"
    )


def close_all(exporters: Sequence[Any]) -> None:
    """Close each of them."""
    for exporter in exporters:
        exporter.close()
