"""The status page: well-formed, complete, and nothing but text of what anybody has sent."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from maildir_imapd.server.samples import Samples
from maildir_imapd.server.status_page import POLICY, SESSIONS, octets, render, span

NOW = 10_000.0
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script>alert(1)</script>",
    "&lt;b&gt;",
    "\u202etxt.exe\u0000\u0007\ud800",
    "javascript:alert(1)",
    "x" * 100_000,
]
VOID = {"meta", "polyline"}


class Page(HTMLParser):
    """Reads a page, and demands that each element that begins ends."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(page.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def status(text: str = "x", **more: object) -> dict[str, Any]:
    return {
        "version": "1",
        "since": 1.0,
        "uptime_seconds": 3700.0,
        "sessions": 2,
        "logged_in": 1,
        "rates": {"commands": 1.25, "octets_in": 10.0, "octets_out": 2048.0},
        "figures": dict.fromkeys(("commands", "logins", "logins_failed", "octets_in", "octets_out", "delivered"), 3),
        "warnings": 1,
        "errors": 0,
        "ready": {"ready": True, "why": ""},
        "wrong": [{"what": text, "text": text, "count": 2, "last": NOW - 60}],
        "workers": [
            {"pid": 7, "retired": False, "answers": True, "age_seconds": 5.0, "memory_octets": None}
            | {"descriptors": None, "sessions": None, "commands": None}
        ],
        "long": [{"command": text, "user": text, "mailbox": text, "seconds": 1.5, "ended": NOW - 5}],
        **more,
    }


def session(text: str) -> dict[str, Any]:
    texts = dict.fromkeys(("user", "peer", "service", "client", "tls", "mailbox", "command", "state"), text)
    return {**texts, "since": NOW - 90, "idle_seconds": 3.0, "octets_out": 5}


def drawn() -> Samples:
    samples = Samples()
    for n in range(4):
        samples.add(status(since=NOW - 100, uptime_seconds=10.0 * n))
    return samples


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_text(text: str) -> None:
    plain = Page(render(status(), [session("x")], drawn(), NOW))
    found = render(status(text, ready={"ready": False, "why": text}, version=text), [session(text)], drawn(), NOW)
    page = Page(found)
    assert page.tags == plain.tags
    assert page.attributes == plain.attributes
    assert not {"script", "img", "a", "form", "iframe", "object", "link"} & page.tags
    assert not any(name.startswith("on") or name in ("href", "src", "style") for name in page.attributes)
    assert len(found) < 40_000
    if text.isprintable() and len(text) < 100:
        assert page.texts.count(text) >= 8, "it is shown as it is"
    assert not re.search("[\u202e\0\7]", found.decode())


def test_style_is_that_of_the_policy() -> None:
    (style,) = re.findall("<style>(.*?)</style>", render(status(), [], Samples(), NOW).decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY
    assert POLICY.startswith("default-src 'none'")


def test_says_what_is_wrong() -> None:
    def head(**more: object) -> str:
        return render(status(**more), [], Samples(), NOW).decode().partition("</h1>")[0].partition("<h1>")[2]

    assert "1 thing is wrong" in head()
    assert "Nothing is wrong" in head(wrong=[])
    assert "Not ready: the server ends" in head(wrong=[], ready={"ready": False, "why": "the server ends"})


def test_very_many_sessions() -> None:
    page = render(status(), [session("x")] * (SESSIONS + 7), Samples(), NOW)
    assert page.count(b'data-name="User"') == SESSIONS + 1
    assert b"and 7 more" in page


def test_charts_stay_in_their_frame() -> None:
    page = render(status(), [], drawn(), NOW).decode()
    points = re.findall(r"(-?[\d.]+),(-?[\d.]+)", " ".join(re.findall('points="([^"]*)"', page)))
    assert len(points) >= 4 + 3 * 3
    assert all(0 <= float(x) <= 300 and 0 <= float(y) <= 60 for x, y in points)


def test_numbers_for_people() -> None:
    assert [octets(n) for n in (0, 1023, 1024, 5 << 30, 1 << 50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "5.0 GiB",
        "1024.0 TiB",
    ]
    assert [span(n) for n in (-1, 59, 61, 3660, 90000)] == ["0 s", "59 s", "1 m 1 s", "1 h 1 m", "1 d 1 h"]
