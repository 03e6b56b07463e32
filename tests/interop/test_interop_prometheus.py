"""A real Prometheus scrapes a running server and takes the alerts; a real browser shows the page."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from client import Client
from http_asker import OPENMETRICS, get
from running import Running, open_to_all, program, start_server, stop_server

pytestmark = [pytest.mark.slow, pytest.mark.interop]

CONTRIB = Path(__file__).parent.parent.parent / "contrib"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    base = tmp_path_factory.mktemp("prometheus")
    open_to_all(base)
    running = start_server(base, "--metrics-listen=127.0.0.1:0", "--status-page=yes", users=3)
    with Client(running.connect()) as client:
        client.line()
        client.ok('ID ("name" "<script>document.title=1</script>")')
        client.ok("LOGIN u1 secret")
        client.ok("SELECT INBOX")
        yield running
    stop_server(running)


def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.2)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def ask(port: int, path: str) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        heard = connection.getresponse()
        return json.loads(heard.read()) if heard.status == 200 else None
    except ConnectionRefusedError:
        return None  # it starts
    finally:
        connection.close()


@pytest.fixture
def prometheus(server: Running, tmp_path: Path) -> Iterator[int]:
    """A Prometheus with the files of contrib, and its port."""
    config = (CONTRIB / "prometheus/prometheus.yml").read_text()
    assert "127.0.0.1:9798" in config
    config = config.replace("127.0.0.1:9798", f"127.0.0.1:{server.ports['metrics']}").replace("30s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    rules = (CONTRIB / "prometheus/maildir-imapd.rules.yml").read_text()
    (tmp_path / "maildir-imapd.rules.yml").write_text(rules)
    port = free_port()
    words = [
        program("prometheus"),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_prometheus_scrapes(prometheus: int, server: Running) -> None:
    def query(expression: str) -> list[dict[str, Any]]:
        found = ask(prometheus, f"/api/v1/query?query={urllib.parse.quote(expression)}")
        return [] if found is None else list(found["data"]["result"])

    until(lambda: query("maildir_imapd_ready == 1"))
    (target,) = ask(prometheus, "/api/v1/targets")["data"]["activeTargets"]
    assert (target["health"], target["lastError"]) == ("up", "")
    (logins,) = query('maildir_imapd_logins_total{result="ok"}')
    assert logins["value"][1] == "1"
    (selects,) = query('maildir_imapd_command_duration_seconds_bucket{command="SELECT",le="+Inf"}')
    assert selects["value"][1] == "1"
    metadata = ask(prometheus, "/api/v1/metadata?metric=maildir_imapd_command_duration_seconds")["data"]
    assert metadata["maildir_imapd_command_duration_seconds"][0]["type"] == "histogram"
    groups = until(lambda: ask(prometheus, "/api/v1/rules")["data"]["groups"])
    rules = until(lambda: [each for each in groups[0]["rules"] if each["name"]])
    assert len(rules) >= 8
    assert not [each for each in rules if each["health"] == "err"]


def test_every_query_of_the_dashboard_is_one(prometheus: int) -> None:
    dashboard = json.loads((CONTRIB / "grafana/maildir-imapd.json").read_text())
    until(lambda: ask(prometheus, "/api/v1/query?query=1"))
    queries = [each["expr"] for panel in dashboard["panels"] for each in panel["targets"]]
    queries += [each["expr"] for each in dashboard["annotations"]["list"]]
    assert len(queries) > 20
    for each in queries:
        written = each.replace("$__rate_interval", "1m").replace("$instance", ".*")
        assert ask(prometheus, f"/api/v1/query?query={urllib.parse.quote(written)}") is not None, written


def test_promtool(server: Running) -> None:
    tool = program("promtool")
    for accept in ("", OPENMETRICS):
        body = get(server.ports["metrics"], "/metrics", accept=accept).body
        if not accept:  # promtool reads the older format
            done = subprocess.run([tool, "check", "metrics"], input=body, capture_output=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    words = [tool, "check", "config", "prometheus.yml"]
    done = subprocess.run(words, cwd=CONTRIB / "prometheus", capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_browser_shows_the_page(server: Running, tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{server.ports['metrics']}/"
    words = [
        *(program("chromium"), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--window-size=390,2400"),
    ]
    done = subprocess.run([*words, "--dump-dom", url], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "<title>maildir-imapd</title>" in done.stdout, "no script of a client's has changed it"
    assert "Nothing is wrong" in done.stdout
    assert "&lt;script&gt;document.title=1&lt;/script&gt;" in done.stdout
    assert done.stdout.count("<polyline") == 6
    # A breach of the policy, the page's own style included, has a line on the console.
    assert not re.findall(r"CONSOLE.*", done.stderr)
    picture = tmp_path / "page.png"
    subprocess.run([*words, f"--screenshot={picture}", url], capture_output=True, timeout=120, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
