"""The status page: one HTML document without script and outside resources, which loads itself again now and then.

All that is shown goes through ``_text``: names of users, clients and mailboxes are whatever somebody has sent.
"""

from __future__ import annotations

import base64
import hashlib
import html
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from maildir_imapd.server.samples import HOUR_SECONDS, Samples

REFRESH_SECONDS: Final = 15
# Sessions that are listed, and octets of a text of them.
SESSIONS: Final = 500
TEXT_CHARACTERS: Final = 120
# Of a chart, in its own units.
_WIDTH: Final = 300
_HEIGHT: Final = 60

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--line:#d9dee3;--paper:#f6f7f9;--card:#fff;--good:#19733a;
--bad:#b3261e;--one:#1f6feb;--two:#c2570c}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ec;--soft:#9aa4af;--line:#333a42;--paper:#14171a;--card:#1d2125;
--good:#5bd083;--bad:#ff8a80;--one:#6ea8fe;--two:#ffab70}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.25rem;margin:0}h2{font-size:1rem;margin:1.6rem 0 .5rem}
header{display:flex;flex-wrap:wrap;gap:.25rem 1rem;align-items:baseline;justify-content:space-between}
.soft{color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0 0;padding:0}
.tiles div,figure,.wide,ul.wrong{background:var(--card);border:1px solid var(--line);border-radius:.5rem}
.tiles div{padding:.5rem .7rem}.tiles dt{color:var(--soft);font-size:.8rem}
.tiles dd{margin:0;font-size:1.25rem;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(16rem,1fr));gap:.6rem}
figure{margin:0;padding:.5rem .7rem}figcaption{display:flex;justify-content:space-between;font-size:.85rem}
svg{display:block;width:100%;height:4rem}
polyline{fill:none;stroke-width:1.5;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.one{stroke:var(--one)}.two{stroke:var(--two)}.t1{color:var(--one)}.t2{color:var(--two)}
ul.wrong{list-style:none;margin:0;padding:.2rem .7rem}ul.wrong li{padding:.3rem 0}
ul.wrong li+li{border-top:1px solid var(--line)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:left;padding:.3rem .7rem;vertical-align:top}th{color:var(--soft);font-weight:500}
td{border-top:1px solid var(--line)}.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
@media (max-width:40rem){thead{display:none}tr{display:block;border-top:1px solid var(--line);padding:.3rem 0}
td{display:flex;justify-content:space-between;gap:1rem;border:0;padding:.1rem .7rem;text-align:right}
td::before{content:attr(data-name);color:var(--soft);text-align:left}td:empty{display:none}}
"""
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Row = Mapping[str, Any]


def render(status: Row, sessions: Sequence[Row], samples: Samples, now: float) -> bytes:
    """Make the page; *now* in seconds since the epoch."""
    refused = f"{status['figures']['logins_failed']:,}"
    tiles = [
        ("Sessions", f"{status['sessions']:,}"),
        ("Logged in", f"{status['logged_in']:,}"),
        ("Commands a second", f"{status['rates']['commands']:.1f}"),
        ("To clients", f"{octets(status['rates']['octets_out'])}/s"),
        ("From clients", f"{octets(status['rates']['octets_in'])}/s"),
        ("Failed logins", refused),
        ("Warnings", f"{status['warnings']:,}"),
        ("Errors", f"{status['errors']:,}"),
    ]
    parts = [
        "<!DOCTYPE html>\n",
        '<html lang="en"><head><meta charset="utf-8"><title>maildir-imapd</title>',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">',
        f"<style>{_STYLE}</style></head><body>",
        _head(status, now),
        '<dl class="tiles">',
        *(f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in tiles),
        "</dl>",
        _wrong(status["wrong"], now),
        _charts(samples, now),
        _workers(status["workers"]),
        _sessions(sessions, now),
        _long(status["long"], now),
        "</body></html>\n",
    ]
    return "".join(parts).encode("utf-8", "replace")


def _head(status: Row, now: float) -> str:
    if status["wrong"]:
        count = len(status["wrong"])
        state = f'<strong class="bad">{count} thing{"s are" if count != 1 else " is"} wrong</strong>'
    elif not status["ready"]["ready"]:
        state = f'<strong class="bad">Not ready: {_text(status["ready"]["why"])}</strong>'
    else:
        state = '<strong class="good">Nothing is wrong</strong>'
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
    return (
        f"<header><h1>maildir-imapd {state}</h1>"
        f'<span class="soft">version {_text(status["version"])}, up {_text(span(status["uptime_seconds"]))}, '
        f'<time datetime="{moment.replace(" ", "T")}Z">{moment} UTC</time></span></header>'
    )


def _wrong(found: Sequence[Row], now: float) -> str:
    if not found:
        return ""
    items = "".join(
        f'<li><strong class="bad">{_text(each["what"])}</strong> {_text(each["text"], 500)} '
        f'<span class="soft">{_text(each["count"])} times, {_text(span(max(0.0, now - each["last"])))} ago</span></li>'
        for each in found
    )
    return f'<h2>What is wrong</h2><ul class="wrong">{items}</ul>'


# --- charts ---------------------------------------------------------------------------------------


def _charts(samples: Samples, now: float) -> str:
    charts = [
        _chart("Sessions", [("", samples.sessions(now))], now, lambda value: f"{value:.0f}"),
        _chart("Commands a second", [("", samples.rates("commands", now))], now, lambda value: f"{value:.1f}"),
        _chart(
            "Logins a minute",
            [
                (name, _times(samples.rates(key, now), 60))
                for name, key in (("ok", "logins"), ("failed", "logins_failed"))
            ],
            now,
            lambda value: f"{value:.1f}",
        ),
        _chart(
            "Octets a second",
            [
                (name, samples.rates(key, now))
                for name, key in (("to clients", "octets_out"), ("from them", "octets_in"))
            ],
            now,
            octets,
        ),
    ]
    return f'<h2>The last hour</h2><div class="charts">{"".join(charts)}</div>'


def _times(points: Iterable[tuple[float, float]], factor: float) -> list[tuple[float, float]]:
    return [(moment, value * factor) for moment, value in points]


def _chart(title: str, lines: Sequence[tuple[str, list[tuple[float, float]]]], now: float, shown: Any) -> str:
    """Draw one or two lines, from an hour ago to now, from 0 to the largest value."""
    most = max((value for _, points in lines for _, value in points), default=0.0)
    scale = most or 1.0
    drawn = []
    for kind, (_, points) in zip(("two", "one") if len(lines) > 1 else ("one",), reversed(lines), strict=False):
        at = " ".join(
            f"{_WIDTH * (1 - (now - moment) / HOUR_SECONDS):.1f},{1 + (_HEIGHT - 2) * (1 - value / scale):.1f}"
            for moment, value in points
        )
        drawn.append(f'<polyline class="{kind}" points="{at}"/>')
    names = [
        f'<span class="t{n}">{_text(name)} {_text(shown(points[-1][1]) if points else "-")}</span>'
        for n, (name, points) in enumerate(lines, 1)
    ]
    label = f"{title} in the last hour, at most {shown(most)}"
    return (
        f"<figure><figcaption><span>{_text(title)}</span><span>{' '.join(names)}</span></figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{_text(label)}">'
        f"{''.join(drawn)}</svg>"
        f'<figcaption class="soft"><span>an hour ago</span><span>at most {_text(shown(most))}</span></figcaption>'
        "</figure>"
    )


# --- tables ---------------------------------------------------------------------------------------


def _workers(found: Sequence[Row]) -> str:
    rows = [
        (
            each["pid"],
            "retired" if each["retired"] else "serves" if each["answers"] else "does not answer",
            span(each["age_seconds"]),
            "" if each["memory_octets"] is None else octets(each["memory_octets"]),
            each["descriptors"],
            each["sessions"],
            each["commands"],
        )
        for each in found
    ]
    names = ("Process", "State", "Age", "Memory", "Descriptors", "Sessions", "Commands")
    return _table("Workers", names, rows, numbers=(3, 4, 5, 6))


def _sessions(found: Sequence[Row], now: float) -> str:
    rows = [
        (
            each.get("user"),
            each.get("peer"),
            each.get("service"),
            each.get("client"),
            each.get("tls"),
            each.get("mailbox"),
            each.get("command") or each.get("state"),
            span(now - float(each["since"])),
            span(float(each["idle_seconds"])),
            octets(float(each["octets_out"])),
        )
        for each in found[:SESSIONS]
    ]
    names = ("User", "Address", "Service", "Client", "TLS", "Mailbox", "State", "Since", "Idle", "To it")
    more = len(found) - len(rows)
    after = f'<p class="soft">and {more:,} more: maildir-imapd who lists all</p>' if more > 0 else ""
    return _table(f"Sessions ({len(found):,})", names, rows, numbers=(7, 8, 9)) + after


def _long(found: Sequence[Row], now: float) -> str:
    rows = [
        (
            each["command"],
            each["user"],
            each["mailbox"],
            f"{each['seconds']:.1f} s",
            f"{span(max(0.0, now - each['ended']))} ago",
        )
        for each in found
    ]
    return _table("Commands that took long", ("Command", "User", "Mailbox", "Time", "When"), rows, numbers=(3, 4))


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int]) -> str:
    if not rows:
        return f'<h2>{_text(title)}</h2><p class="soft">None.</p>'
    kinds = [' class="n"' if n in numbers else "" for n in range(len(names))]
    head = "".join(f"<th{kind}>{_text(name)}</th>" for name, kind in zip(names, kinds, strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            f'<td{kind} data-name="{_text(name)}">{_text(value)}</td>'
            for name, kind, value in zip(names, kinds, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<h2>{_text(title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _text(value: object, most: int = TEXT_CHARACTERS) -> str:
    """Write a value so that it is text and nothing else, wherever it stands; "" for None.

    Characters that no reader sees, or that turn the direction of what follows, are shown as what they are.
    """
    if value is None:
        return ""
    text = str(value)
    if len(text) > most:
        text = text[: most - 1] + "\u2026"
    return html.escape("".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text))


def octets(number: float) -> str:
    """Write a number of octets, short."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def span(seconds: float) -> str:
    """Write a time, short."""
    whole = int(max(0.0, seconds))
    for size, unit, smaller, name in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {name}"
    return f"{whole} s"
