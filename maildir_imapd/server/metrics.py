"""The figures as metrics of Prometheus: made of what ``status`` says, and written by the library prometheus_client.

``FAMILIES`` makes all of them; docs/monitoring.md, the dashboard and the alerts of contrib name them, and a test
compares.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from maildir_imapd.imap.tally import COUNT, FIRST, MICROSECONDS, PLACES
from maildir_imapd.server.troubles import NAMED

PREFIX: Final = "maildir_imapd_"
# Kinds of trouble that are told with 0 where there is none, so that an alert ends.
KINDS: Final = tuple(sorted({kind for kind, _ in NAMED.values()} | {"error", "no-answer", "spool", "workers-missing"}))
# Services that are told with 0 where nobody is there.
SERVICES: Final = ("imap", "lmtp", "auth", "lookup", "policy")

Status = Mapping[str, Any]
Rows = Iterable[tuple[Sequence[str], float]]


def render(status: Status, accept: str) -> tuple[bytes, str]:
    """Write all down, in the format that *accept* asks for, with its Content-Type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(status))
    write, kind = choose_encoder(accept)
    return write(registry), kind


class _Collected(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        """As ``Collector.describe``: nobody asks, for the registry lives as long as one answer."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """As ``Collector.collect``."""
        for family in FAMILIES:
            yield from family(self._status)


def _gauge(name: str, help: str, labels: Sequence[str], rows: Callable[[Status], Rows]) -> Family:
    def make(status: Status) -> Iterator[Metric]:
        family = GaugeMetricFamily(PREFIX + name, help, labels=labels)
        for values, value in rows(status):
            family.add_metric(list(values), value)
        yield family

    return make


def _counter(name: str, help: str, labels: Sequence[str], rows: Callable[[Status], Rows]) -> Family:
    def make(status: Status) -> Iterator[Metric]:
        family = CounterMetricFamily(PREFIX + name, help, labels=labels)
        for values, value in rows(status):
            family.add_metric(list(values), value)
        yield family

    return make


def _one(of: Callable[[Status], float]) -> Callable[[Status], Rows]:
    return lambda status: [((), of(status))]


def _figure(name: str) -> Callable[[Status], Rows]:
    return lambda status: [((), status["figures"][name])]


def _figures(**names: str) -> Callable[[Status], Rows]:
    """Rows of one label: its value, and the figure that it is for."""
    return lambda status: [((value,), status["figures"][name]) for value, name in names.items()]


def _of_workers(name: str) -> Callable[[Status], Rows]:
    """Rows by a worker's place, which its successor has after it; none of a worker that does not say."""
    return lambda status: [
        ((str(each["slot"]),), float(each[name])) for each in status["workers"] if each[name] is not None
    ]


def _workers(status: Status) -> Rows:
    retired = sum(bool(each["retired"]) for each in status["workers"])
    return [(("active",), len(status["workers"]) - retired), (("retired",), retired)]


def _sessions(status: Status) -> Rows:
    here = status["services"]
    return [((service,), here.get(service, 0)) for service in (*SERVICES, *sorted(here.keys() - set(SERVICES)))]


def _problems(status: Status) -> Rows:
    found = dict.fromkeys(KINDS, 0)
    for each in status["wrong"]:
        found[each["what"]] = found.get(each["what"], 0) + 1
    return [((what,), count) for what, count in found.items()]


def _events(status: Status) -> Rows:
    return [((each["event"],), each["count"]) for each in sorted(status["events"], key=lambda each: str(each["event"]))]


def _deaths(status: Status) -> Rows:
    return [((), sum(each["count"] for each in status["events"] if each["event"] == "worker died"))]


def _commands(status: Status) -> Iterator[Metric]:
    family = HistogramMetricFamily(
        PREFIX + "command_duration_seconds", "IMAP commands by name, and how long they took.", labels=["command"]
    )
    bounds = [*(str(4**place / 1e6) for place in range(PLACES - 1)), "+Inf"]
    for name, row in sorted(status["figures"]["kinds"].items()):
        buckets, sum_of_all = [], 0
        for bound, count in zip(bounds, row[FIRST:], strict=True):
            sum_of_all += count
            buckets.append((bound, sum_of_all))
        # The same sum as the number of commands, whatever happened between two additions.
        assert row[COUNT] >= 0
        family.add_metric([name], buckets=buckets, sum_value=row[MICROSECONDS] / 1e6)
    yield family


def _build(status: Status) -> Iterator[Metric]:
    family = InfoMetricFamily(PREFIX + "build", "The version of the server, and of Python.")
    family.add_metric([], {"version": status["version"], "python_version": platform.python_version()})
    yield family


Family = Callable[[Status], Iterator[Metric]]
FAMILIES: Final[tuple[Family, ...]] = (
    _build,
    _gauge("start_time_seconds", "When the server was started, since the epoch.", (), _one(lambda s: s["since"])),
    _gauge("uptime_seconds", "How long it has run.", (), _one(lambda s: s["uptime_seconds"])),
    _gauge("ready", "1 while new clients are served.", (), _one(lambda s: float(s["ready"]["ready"]))),
    _gauge("draining", "1 while clients are sent elsewhere (drain).", (), _one(lambda s: float(s["drain"]["on"]))),
    _gauge("sessions", "Connections that are open, by service.", ("service",), _sessions),
    _gauge("sessions_logged_in", "IMAP sessions that have logged in.", (), _one(lambda s: s["logged_in"])),
    _counter("connections", "Connections to IMAP.", (), _figure("connections")),
    _counter("logins", "Logins, by result.", ("result",), _figures(ok="logins", failed="logins_failed")),
    _commands,
    _counter("received_bytes", "Octets from IMAP clients, as commands have them.", (), _figure("octets_in")),
    _counter("sent_bytes", "Octets to IMAP clients, before compression and TLS.", (), _figure("octets_out")),
    _counter("messages_fetched", "Messages of which FETCH told something.", (), _figure("messages_fetched")),
    _counter("messages_appended", "Messages that clients have put in.", (), _figure("messages_appended")),
    _counter("messages_expunged", "Messages that clients have expunged or moved.", (), _figure("messages_expunged")),
    _counter(
        "cache_lookups",
        "Messages of which the folder's cache knew what was asked (hit), and those that were read for it (miss).",
        ("result",),
        _figures(hit="cache_hits", miss="cache_misses"),
    ),
    _counter("lock_waits", "Locks of folders and files that were found in other hands.", (), _figure("lock_waits")),
    _counter(
        "deliveries",
        "Recipients of mail by LMTP, by how they were answered.",
        ("result",),
        _figures(delivered="delivered", refused="deliveries_refused", deferred="deliveries_deferred"),
    ),
    _gauge("workers", "Worker processes; a retired one serves the clients it has.", ("state",), _workers),
    _counter("worker_deaths", "Workers that died and were replaced.", (), _deaths),
    _gauge("worker_answers", "1 for a worker that has answered in time.", ("worker",), _of_workers("answers")),
    _gauge("worker_memory_bytes", "Memory of a worker that is in use.", ("worker",), _of_workers("memory_octets")),
    _gauge("worker_open_descriptors", "Descriptors a worker has open.", ("worker",), _of_workers("descriptors")),
    _gauge(
        "certificate_end_time_seconds",
        "When a certificate ends, since the epoch.",
        ("file",),
        lambda status: [((file,), end) for file, end in sorted(status["certificates"].items())],
    ),
    _gauge("problems", "What is wrong now, by kind, as maildir-imapd status has it.", ("what",), _problems),
    _counter("events", "Warnings and errors of the log, by event.", ("event",), _events),
)
