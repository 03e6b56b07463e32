"""The metrics: read by the library's own parsers, right, and of the names that dashboard, alerts and manual use."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from http_asker import OPENMETRICS
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from maildir_imapd.imap.tally import Tally
from maildir_imapd.server.figures import Sums, of_session
from maildir_imapd.server.metrics import KINDS, render

ROOT = Path(__file__).parent.parent.parent
HOSTILE = 'a "b" \\ c\nd\u20ac'


def status(**more: object) -> dict[str, Any]:
    tally = Tally()
    for seconds in (0.0, 0.000001, 0.000003, 0.000004, 0.1, 3.0, 100.0):
        tally.count(b"FETCH", seconds)
    worker = {"slot": 0, "answers": True, "retired": False, "memory_octets": 1 << 20, "descriptors": 9}
    silent = {"slot": 3, "answers": False, "retired": True, "memory_octets": None, "descriptors": None}
    figures = of_session(tally).plus(Sums(logins=2, logins_failed=1, cache_hits=7, deliveries_deferred=4))
    return {
        "version": "1.2.3",
        "since": 1000.5,
        "uptime_seconds": 20.0,
        "ready": {"ready": True, "why": "", "beating": 1},
        "drain": {"on": False, "left": None, "over": False, "seconds": None, "within": None},
        "logged_in": 2,
        "services": {"imap": 3},
        "figures": figures.as_json(),
        "workers": [worker, silent],
        "wrong": [{"what": "no-answer"}, {"what": "error"}, {"what": "error"}],
        "events": [{"event": HOSTILE, "count": 5}, {"event": "worker died", "count": 2}],
        "certificates": {HOSTILE: 2_000_000_000},
        **more,
    }


def read(body: bytes, kind: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples by name and labels; the library's parser must take the whole."""
    parse = read_openmetrics if "openmetrics" in kind else read_text
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in parse(body.decode()):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, f"{key} twice"
            found[key] = sample.value
    return found


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_values(accept: str) -> None:
    body, kind = render(status(), accept)
    assert kind.startswith("application/openmetrics-text" if "openmetrics" in accept else "text/plain")
    found = read(body, kind)

    def value(name: str, **labels: str) -> float:
        return found["maildir_imapd_" + name, tuple(sorted(labels.items()))]

    assert value("logins_total", result="ok") == 2
    assert value("logins_total", result="failed") == 1
    assert value("sessions", service="imap") == 3
    assert value("sessions", service="lmtp") == 0
    assert value("cache_lookups_total", result="hit") == 7
    assert value("deliveries_total", result="deferred") == 4
    assert value("workers", state="active") == value("workers", state="retired") == 1
    assert value("worker_answers", worker="3") == 0
    assert value("worker_memory_bytes", worker="0") == 1 << 20
    assert value("problems", what="error") == 2
    assert {dict(labels)["what"] for name, labels in found if name.endswith("problems")} == set(KINDS)
    assert value("events_total", event=HOSTILE) == 5
    assert value("worker_deaths_total") == 2
    assert value("certificate_end_time_seconds", file=HOSTILE) == 2_000_000_000
    assert ("maildir_imapd_worker_memory_bytes", (("worker", "3"),)) not in found


def test_histogram() -> None:
    """Buckets rise, the last one has all, and a time is in the first whose bound it is below."""
    body, kind = render(status(), OPENMETRICS)
    found = {
        float(dict(labels)["le"]): count
        for (name, labels), count in read(body, kind).items()
        if name == "maildir_imapd_command_duration_seconds_bucket"
    }
    assert list(found.values()) == sorted(found.values())
    assert found[1e-6] == 1
    assert found[4e-6] == 3
    assert found[16e-6] == 4
    assert found[0.262144] == 5
    assert found[4.194304] == 6
    assert found[67.108864] == 6
    assert found[float("inf")] == 7
    assert read(body, kind)["maildir_imapd_command_duration_seconds_sum", (("command", "FETCH"),)] == pytest.approx(
        103.1
    )


def test_text_of_any_user_is_one_line() -> None:
    body, _ = render(status(events=[{"event": "x\n# EOF\nmaildir_imapd_ready 0", "count": 1}]), OPENMETRICS)
    assert body.count(b"# EOF") == 2
    assert b"\nmaildir_imapd_ready 0" not in body


def exported() -> set[str]:
    body, kind = render(status(), OPENMETRICS)
    return {name for name, _ in read(body, kind)}


NAME = re.compile(r"\bmaildir_imapd_[a-z_]+")


def test_dashboard_and_alerts_use_what_there_is() -> None:
    names = exported()
    dashboard = json.loads((ROOT / "contrib/grafana/maildir-imapd.json").read_text())
    used = set(NAME.findall(json.dumps(dashboard)))
    assert used - names == set()
    # Every family is on it; of a histogram two of three series are enough.
    assert names - used <= set()
    alerts = (ROOT / "contrib/prometheus/maildir-imapd.rules.yml").read_text()
    assert set(NAME.findall(alerts)) - names == set()


def test_manual_names_each() -> None:
    text = (ROOT / "docs/monitoring.md").read_text()
    families = {re.sub("_(bucket|count|sum)$", "", name) for name in exported()}
    assert set(NAME.findall(text)) == families
