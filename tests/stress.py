"""Everybody at once, for as long as one likes, and nothing believed: the load that no server may be corrupted by.

``World`` starts a server, sets clients and outside programs upon it, and looks in the end what is left; what should
not be is a ``Violation``. ``scripts/stress`` and tests/server/test_server_load.py drive it.

- Each message is a function of its name (``octets``), so each octet of it can be checked wherever it turns up.
- A ``Ledger`` knows what all clients of a user have been told: a (UIDVALIDITY, UID) is one message, for ever, and a
  message that was acknowledged and that nobody removes is there in the end.
- Each response goes through ``grammar``.

The first letter of a message's name says what may be done to it: P is never moved nor removed, M is moved, T may go.
The first letter of a mailbox's name: K (and INBOX) stays, W is renamed, with children, F is deleted and made again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import itertools
import json
import os
import random
import re
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import grammar
import hosts
from grammar import Response, Ungrammatical
from running import Running, start_server, stop_server
from spool import Spool

from maildir_imapd.store.mailbox import Mailbox

ANSWER_WITHIN = 90.0  # seconds; a server that takes longer has forgotten us
HERD = 0.2  # seconds between two moments at which fickle clients do the same
CHUNK = 1000  # octets of a partial FETCH
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "kw1", "$Forwarded", "work")
SHOWN = 25  # violations that are kept in full
FLEETING = ("F0", "F1", "F2", "F0.Child")
WANDERING = ("W0", "W1", "W2", "W3")
CHILDREN = ("", ".Child", ".Child.Deep")
# What may be refused while others come and go.
# INUSE: of a mailbox that others delete and make anew all the time. MODIFIED comes in a NO where some of the messages
# are gone besides (RFC 7162 3.1.3, example 11).
REFUSED = {
    "NOPERM",
    "ALREADYEXISTS",
    "TRYCREATE",
    "NONEXISTENT",
    "EXPUNGEISSUED",
    "CANNOT",
    "HASCHILDREN",
    "MODIFIED",
    "INUSE",
}
ABSENT = {"TRYCREATE", "NONEXISTENT"}
# During these no number may change (RFC 3501 7.4.1); with UID before them they may.
BY_NUMBER = ("FETCH", "STORE", "SEARCH")
_ALL_EVENTS = "MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange"
NOTIFY = (
    "(selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))",
    f"(selected-delayed (MessageNew MessageExpunge FlagChange)) (personal ({_ALL_EVENTS}))",
    "(inboxes (MessageNew MessageExpunge)) (subtree K0 (MessageNew MessageExpunge FlagChange))",
)


# --- messages -------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def octets(ident: str) -> bytes:
    """The message of that name, as it goes over the wire."""
    size = int(ident.rpartition("x")[2])
    text = hashlib.shake_128(ident.encode()).hexdigest(size // 2 + 35)
    body = "".join(text[at : at + 70] + "\r\n" for at in range(0, size, 70)).encode()
    head = (
        f"X-Ident: {ident}\r\nX-Sum: {hashlib.sha256(body).hexdigest()}\r\nFrom: Ann <ann@example.org>\r\n"
        f"To: ben@example.net\r\nSubject: {ident}\r\nDate: Mon, 2 Nov 2026 10:00:00 +0000\r\n"
        f"Message-ID: <{ident}@example.org>\r\n\r\n"
    )
    return head.encode() + body


_IDENT = re.compile(rb"X-Ident: ([A-Z]\w+x\d+)\r?\n")


def identify(data: bytes, *, on_disk: bool = False) -> tuple[str, str]:
    """The name of a message, and what is wrong with its octets ("" if nothing is)."""
    match = _IDENT.match(data)
    if match is None:
        return "", f"no message begins with {data[:40]!r}"
    ident = match[1].decode()
    expected = octets(ident)
    if on_disk:
        expected = expected.replace(b"\r\n", b"\n")
    if data == expected:
        return ident, ""
    at = next(
        (n for n, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b), min(len(data), len(expected))
    )
    return ident, f"{ident}: {len(data)} octets for {len(expected)}, other from {at} on: {data[at : at + 24]!r}"


# --- what is known ----------------------------------------------------------------------------------


@dataclass
class Violation:
    """Something that must not be. *when*: seconds after the start."""

    kind: str
    what: str
    when: float
    recent: tuple[str, ...] = ()

    def __str__(self) -> str:
        before = "".join(f"\n      {line}" for line in self.recent)
        return f"{self.when:7.1f} {self.kind}: {self.what}{before}"


class Violations:
    """All of them: counted, the first ones kept; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.began = time.monotonic()
        self.counts: Counter[str] = Counter()
        self.first: list[Violation] = []

    def add(self, kind: str, what: str, recent: Iterable[str] = ()) -> None:
        with self._lock:
            self.counts[kind] += 1
            if self.counts[kind] <= 3 or len(self.first) < SHOWN:
                self.first.append(Violation(kind, what, time.monotonic() - self.began, tuple(recent)))

    def __bool__(self) -> bool:
        return bool(self.counts)


@dataclass
class Ledger:
    """What all clients of one user know together.

    *uids*: by UIDVALIDITY and UID, which no two mailboxes share. *safe*: acknowledged, and never removed.
    *pinned*: where messages were acknowledged that nobody moves either. *uidnext*: by UIDVALIDITY, at least this.
    """

    user: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    uids: dict[tuple[int, int], str] = field(default_factory=dict)
    safe: dict[str, str] = field(default_factory=dict)
    pinned: dict[tuple[int, int], str] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    uidnext: dict[int, int] = field(default_factory=dict)
    serial: int = 0

    def name(self, kind: str, size: int) -> str:
        """Name a new message."""
        with self.lock:
            self.serial += 1
            return f"{kind}{self.user}x{self.serial}x{size}"

    def learn(self, uidvalidity: int, uid: int, ident: str) -> str:
        """Note whose a UID is; what it was before, if another's."""
        with self.lock:
            known = self.uids.setdefault((uidvalidity, uid), ident)
            if uid >= self.uidnext.get(uidvalidity, 0):
                self.uidnext[uidvalidity] = uid + 1
        return known if known != ident else ""

    def floor(self) -> dict[int, int]:
        """UIDNEXT as it is now, at least: what is asked from here on may say no less."""
        with self.lock:
            return dict(self.uidnext)


# --- a connection ------------------------------------------------------------------------------------


class Lost(Exception):
    """The connection has gone."""


class Wire:
    """A connection: plain, under TLS, deflated, in any order."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.cutter = grammar.Cutter()
        self._out: zlib._Compress | None = None
        self._in: zlib._Decompress | None = None

    def deflate(self) -> None:
        self._out, self._in = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15)

    def send(self, data: bytes) -> None:
        if self._out is not None:
            data = self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)
        try:
            self.sock.settimeout(ANSWER_WITHIN)
            self.sock.sendall(data)
        except TimeoutError as error:
            raise TimeoutError("nothing was read") from error
        except OSError as error:
            raise Lost(str(error)) from error

    def receive(self, timeout: float) -> bool:
        """Take in what has come; False if nothing has in *timeout* seconds."""
        try:
            self.sock.settimeout(max(timeout, 0.0001))
            data = self.sock.recv(1 << 17)
        except (TimeoutError, ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError as error:
            raise Lost(str(error)) from error
        if not data:
            raise Lost("closed")
        if self._in is not None:
            data = self._in.decompress(data)
        self.cutter.feed(data)
        return True

    def reset(self) -> None:
        """RST: as when a client's machine has gone, or its process was killed with answers unread."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def half_close(self) -> None:
        """FIN: no more will be sent."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.close()


@dataclass(frozen=True)
class Kind:
    """What a client is like."""

    tls: str = ""  # "", "implicit" or "starttls"
    compress: bool = False
    enable: str = ""
    notify: bool = False
    by_uid: bool = False
    pipelines: bool = False
    fickle: float = 0.05  # how often an act is one of breaking off

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.enable

    @property
    def condstore(self) -> bool:
        return self.qresync or "CONDSTORE" in self.enable

    @property
    def utf8(self) -> bool:
        return "UTF8" in self.enable or "IMAP4rev2" in self.enable


KINDS = (
    Kind(),
    Kind(tls="implicit", enable="QRESYNC"),
    Kind(fickle=0.5),
    Kind(compress=True, enable="IMAP4rev2"),
    Kind(notify=True, by_uid=True),
    Kind(tls="starttls", compress=True, enable="CONDSTORE"),
    Kind(notify=True, by_uid=True, fickle=0.4),
    Kind(enable="QRESYNC IMAP4rev2", by_uid=True),
    Kind(tls="implicit", fickle=0.4),
    Kind(enable="UTF8=ACCEPT QRESYNC", pipelines=True, by_uid=True),
    Kind(tls="implicit", notify=True, by_uid=True, enable="QRESYNC", fickle=0.1),
    Kind(fickle=0.0, pipelines=True, by_uid=True),
)


@dataclass
class Running_:
    """A command on its way. *floor*: UIDNEXT as it was known when it was sent; *idents*: what it appends."""

    tag: str
    text: str
    floor: dict[int, int]
    idents: tuple[str, ...] = ()
    target: str = ""

    @property
    def word(self) -> str:
        words = self.text.split()
        return " ".join(words[: 2 if words[0] == "UID" else 1])


def _puts_in(text: str) -> bool:
    """Whether a command puts messages into a mailbox, which may be made anew faster than it can."""
    return text.removeprefix("UID ").split()[0] in ("APPEND", "COPY", "MOVE", "REPLACE")


class Client:
    """One client. What it finds wrong goes to the world's violations; it then goes on as best it can."""

    def __init__(self, world: World, ledger: Ledger, kind: Kind, number: int) -> None:
        self.world, self.ledger, self.kind, self.number = world, ledger, kind, number
        self.rng = random.Random(f"{world.plan.seed} {number}")
        self.wire: Wire | None = None
        self.server = world.servers[number // len(world.ledgers) % len(world.servers)]
        self.recent: list[str] = []
        self.tags = 0
        self.notify = ""
        self.transcript = world.transcript(number)
        self.forget()

    def forget(self) -> None:
        """No mailbox is open."""
        self.mailbox = ""
        self.read_only = False
        self.uidvalidity = 0
        self.modseq = 0
        self.messages: list[int] = []  # UIDs, 0 where unknown
        self.flags: dict[int, frozenset[str]] = {}
        self.running: list[Running_] = []
        self.vanished: set[int] = set()
        self.searched: list[int] | None = None  # the last answer of SEARCH
        self.own_uidnext: dict[int, int] = {}

    # --- the wire ---------------------------------------------------------------------------------

    def violate(self, kind: str, what: str) -> None:
        where = f"[client {self.number} {self.ledger.user} in {self.mailbox or '-'}] {what}"
        self.world.violations.add(kind, where, self.recent[-14:])

    def log(self, line: str) -> None:
        self.recent.append(line)
        if self.transcript is not None:
            print(f"{time.time() - self.world.started:.3f} {line}", file=self.transcript, flush=True)
        if len(self.recent) > 120:
            del self.recent[:60]

    def open_socket(self) -> socket.socket:
        """A connection without TLS, to the port of this kind."""
        port = self.server.tls_port if self.kind.tls == "implicit" else self.server.port
        sock = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_WITHIN)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def connect(self) -> None:
        """Log in, and switch on what this kind switches on."""
        self.forget()
        self.notify = ""
        self.log("connect")
        try:
            sock = self.open_socket()
            if self.kind.tls == "implicit":
                sock = self.world.tls.wrap_socket(sock, server_hostname="localhost")
        except OSError as error:
            raise Lost(str(error)) from error
        wire = self.wire = Wire(sock)
        greeting = self.response()
        if greeting.name != "OK":
            raise Lost(greeting.raw.decode("latin-1"))
        if self.kind.tls == "starttls":
            self.ok("STARTTLS")
            try:
                wire.sock = self.world.tls.wrap_socket(sock, server_hostname="localhost")
            except OSError as error:
                raise Lost(str(error)) from error
        self.ok(f"LOGIN {self.ledger.user} secret")
        if self.kind.compress:
            self.ok("COMPRESS DEFLATE")
            wire.deflate()
        if self.kind.enable:
            self.ok(f"ENABLE {self.kind.enable}")
        if self.kind.notify:
            self.set_notify()

    def set_notify(self) -> None:
        self.notify = self.rng.choice(NOTIFY)
        if not self.ok(f"NOTIFY SET {self.notify}"):
            self.notify = ""

    def close(self) -> None:
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        self.forget()

    def response(self, timeout: float = ANSWER_WITHIN) -> Response:
        """The next response; raises TimeoutError, Lost, Ungrammatical."""
        assert self.wire is not None
        until = time.monotonic() + timeout
        while (raw := self.wire.cutter.next()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self.wire.receive(left)
        self.log(f"S: {raw[:160]!r}")
        self.world.octets += len(raw)
        return grammar.parse(raw, utf8=self.kind.utf8)

    def send(self, data: bytes) -> None:
        assert self.wire is not None
        self.log(f"C: {data[:160]!r}")
        self.wire.send(data)

    def start(self, text: str, literals: bytes = b"", idents: Sequence[str] = (), target: str = "") -> None:
        """Send a command; *literals* is what follows on its line."""
        self.tags += 1
        tag = f"c{self.number}a{self.tags}"
        self.running.append(Running_(tag, text, self.ledger.floor(), tuple(idents), target))
        self.send(f"{tag} {text}".encode() + literals + b"\r\n")

    def finish(self) -> Response:
        """Hear all up to the end of the oldest command, or a continuation."""
        running = self.running[0]
        while True:
            response = self.response()
            if response.tag == "+":
                return response
            if response.tag == "*":
                self.hear(response, running)
                continue
            if response.tag != running.tag:
                self.violate("tag", f"expected the end of {running.tag}: {response.raw[:200]!r}")
                raise Lost("out of step")
            self.running.pop(0)
            self.world.done(running.word, response)
            self.tagged(response, running)
            return response

    def command(self, text: str, literals: bytes = b"", idents: Sequence[str] = (), target: str = "") -> Response:
        """Do one command."""
        self.start(text, literals, idents, target)
        return self.finish()

    def ok(self, text: str) -> bool:
        """As ``command``; that it is not OK is wrong."""
        response = self.command(text)
        if response.name != "OK":
            self.violate("refused", f"{text}: {response.raw[:200]!r}")
        return response.name == "OK"

    def listen(self, seconds: float) -> None:
        """Hear what comes by itself."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            try:
                response = self.response(left)
            except TimeoutError:
                return
            if response.tag == "*":
                self.hear(response, self.running[0] if self.running else None)
            else:
                self.violate("tag", f"nothing was asked: {response.raw[:200]!r}")

    # --- what is checked --------------------------------------------------------------------------

    @property
    def certain(self) -> bool:
        """Whether the open mailbox is one that nobody deletes or renames."""
        return certain(self.mailbox) if self.mailbox else True

    @property
    def hears(self) -> bool:
        """Whether all that happens in the open mailbox, which stays, is told to this client."""
        if self.wire is None or not self.mailbox or not self.certain:
            return False
        # Who has used NOTIFY hears of the open mailbox only what he asks for.
        return not self.kind.notify or "(selected" in self.notify

    def tagged(self, response: Response, running: Running_) -> None:
        text = running.text
        if response.code:
            self.coded(response, running)
        if response.name == "OK":
            return
        where = f"{text[:200]}: {response.raw[:300]!r}"
        if response.name == "BAD":
            self.violate("bad", where)
        elif response.code in ("SERVERBUG", "UNAVAILABLE") or (response.code == "INUSE" and not _puts_in(text)):
            self.violate(response.code.lower(), where)
        elif response.code not in REFUSED:
            self.violate("refused", where)
        elif response.code in ABSENT and self.certain:
            names = [name for name in text.split() if re.fullmatch(r"K\d+|INBOX", name)]
            if names and not text.startswith(("RENAME", "CREATE")):
                self.violate("absent", f"{names[0]} is there: {where}")

    def coded(self, response: Response, running: Running_) -> None:
        data = response.code_data
        match response.code:
            case "APPENDUID":
                validity, uids = data
                if len(uids) != len(running.idents) or uids != sorted(set(uids)):
                    self.violate("appenduid", f"{running.text[:100]} {running.idents}: {response.raw!r}")
                else:
                    self.acknowledged(running, validity, uids)
            case "COPYUID":
                validity, olds, news = data
                if news != sorted(set(news)):
                    self.violate("copyuid", response.raw.decode("latin-1"))
                for old, new in zip(olds, news, strict=True):
                    with self.ledger.lock:
                        ident = self.ledger.uids.get((self.uidvalidity, old))
                    if ident is not None:
                        self.learn(validity, new, ident, response)
                        self.fresh(running, validity, new, response)
                    if new >= self.ledger.uidnext.get(validity, 0):
                        with self.ledger.lock:
                            self.ledger.uidnext[validity] = new + 1
            case "UIDVALIDITY":
                self.uidvalidity = data
            case "UIDNEXT":
                self.uidnext(self.uidvalidity, data, running, response)
            case "HIGHESTMODSEQ":
                self.modseq = max(self.modseq, data)
            case "CLOSED":
                running_now = self.running
                self.forget()
                self.running = running_now
            case "SERVERBUG" | "UNAVAILABLE" if not response.is_tagged:
                self.violate(response.code.lower(), response.raw.decode("latin-1"))

    def acknowledged(self, running: Running_, validity: int, uids: list[int]) -> None:
        for uid, ident in zip(uids, running.idents, strict=True):
            self.fresh(running, validity, uid, running.text)
            self.learn(validity, uid, ident, running.text)
            with self.ledger.lock:
                self.ledger.acknowledged.add(ident)
                if not running.target.startswith("F") and ident[0] in "PM":
                    self.ledger.safe[ident] = f"{running.target} as UID {uid} of {validity}"
                    if ident[0] == "P":
                        self.ledger.pinned[validity, uid] = ident

    def fresh(self, running: Running_, validity: int, uid: int, where: object) -> None:
        """A new UID is above all that were known when it was asked for."""
        if uid < running.floor.get(validity, 0):
            self.violate("uid-old", f"new UID {uid} of {validity} below UIDNEXT {running.floor[validity]}: {where}")

    def uidnext(self, validity: int, value: int, running: Running_ | None, where: Response) -> None:
        floor = running.floor.get(validity, 0) if running is not None else 0
        floor = max(floor, self.own_uidnext.get(validity, 0))
        if value < floor:
            self.violate("uidnext", f"UIDNEXT {value} of {validity} was {floor} before: {where.raw[:200]!r}")
        self.own_uidnext[validity] = value
        with self.ledger.lock:
            self.ledger.uidnext[validity] = max(value, self.ledger.uidnext.get(validity, 0))

    def learn(self, validity: int, uid: int, ident: str, where: object) -> None:
        if not ident[1:].startswith(self.ledger.user + "x"):
            self.violate("other-user", f"UID {uid} of {validity} is {ident}: {where!r}"[:400])
            return
        if other := self.ledger.learn(validity, uid, ident):
            self.violate("uid-twice", f"UID {uid} of {validity} was {other} and is {ident}: {where!r}"[:500])

    def hear(self, response: Response, running: Running_ | None) -> None:
        """Take in an untagged response, and complain of what no server may say now."""
        word = running.word if running is not None else ""
        count = len(self.messages)

        def wrong(why: str) -> None:
            self.violate("sequence", f"{why}, {count} messages, during {word or 'nothing'}: {response.raw[:200]!r}")

        if running is None and not self.notify:
            wrong("nothing was asked")
        match response.name:
            case "BYE":
                raise Lost(response.raw.decode("latin-1").strip())
            case "BAD":
                self.violate("bad", response.raw.decode("latin-1"))
            case "OK" | "NO":
                if response.code and running is not None:
                    self.coded(response, running)
            case "EXISTS":
                if response.number < count:
                    wrong("fewer messages")
                    raise Lost("out of step")
                self.messages += [0] * (response.number - count)
            case "EXPUNGE":
                # Who asked for it with NOTIFY is told at any time, also while his next command is on its way.
                too_early = word in BY_NUMBER and "(selected (" not in self.notify
                if not 1 <= response.number <= count or too_early or self.kind.qresync:
                    wrong("no EXPUNGE may come")
                    raise Lost("out of step")
                self.flags.pop(self.messages.pop(response.number - 1), None)
            case "VANISHED":
                self.hear_vanished(response, word, wrong)
            case "FETCH":
                if not 1 <= response.number <= count:
                    wrong("no such number")
                    raise Lost("out of step")
                self.fetched(response, wrong)
            case "SEARCH":
                self.searched = response.data
                if word == "SEARCH" and any(n > count for n in response.data):
                    wrong("no such number")
            case "STATUS":
                _, items = response.data
                if "UIDNEXT" in items and "UIDVALIDITY" in items:
                    # With NOTIFY it may have come by itself, of a moment before the command.
                    asked = running if not self.notify and running is not None else None
                    self.uidnext(items["UIDVALIDITY"], items["UIDNEXT"], asked, response)
                if items.get("UNSEEN", 0) > items.get("MESSAGES", 1 << 32):
                    wrong("more unseen than there are")

    def hear_vanished(self, response: Response, word: str, wrong: Callable[[str], None]) -> None:
        earlier, ranges = response.data
        if not self.kind.qresync:
            wrong("QRESYNC is not enabled")
        if earlier:
            if sum(high - low for low, high in ranges) < 100_000:
                self.vanished.update(grammar.numbers(ranges))
            return
        if word in BY_NUMBER and "(selected (" not in self.notify:
            wrong("no VANISHED may come")
        gone = set(grammar.numbers(ranges))
        # A UID that was never told is that of a message whose UID is not known yet, between known ones.
        for uid in sorted(gone - set(self.messages)):
            above = next((k for k, known in enumerate(self.messages) if known > uid), len(self.messages))
            if not above or self.messages[above - 1]:
                wrong(f"UID {uid} was not there")
                raise Lost("out of step")
            del self.messages[above - 1]
        self.messages = [uid for uid in self.messages if uid not in gone]
        for uid in gone:
            self.flags.pop(uid, None)

    def fetched(self, response: Response, wrong: Callable[[str], None]) -> None:
        at, items = response.number - 1, response.data
        uid = items.get("UID", 0)
        if uid:
            if self.messages[at] not in (0, uid):
                wrong(f"the UID was {self.messages[at]}")
                raise Lost("out of step")
            if not self.messages[at]:
                self.messages[at] = uid
                known = [u for u in self.messages if u]
                if any(a >= b for a, b in itertools.pairwise(known)):
                    wrong("UIDs that do not ascend")
                    raise Lost("out of step")
        else:
            uid = self.messages[at]
        if uid and "FLAGS" in items:
            self.flags[uid] = frozenset(items["FLAGS"]) - {"\\Recent"}
        ident = ""
        for label in ("BODY[]", "BINARY[]"):
            if label in items:
                ident = self.whole(items[label], label, uid, response)
        if (head := items.get("BODY[HEADER.FIELDS (X-Ident)]")) is not None and not ident:
            match = re.fullmatch(rb"X-Ident: ([A-Z]\w+x\d+)\r\n\r\n", head)
            if match is None:
                self.violate("body", f"UID {uid} of {self.uidvalidity}: {response.raw[:300]!r}")
            else:
                ident = match[1].decode()
        if ident and uid:
            self.learn(self.uidvalidity, uid, ident, response.raw[:200])
        with self.ledger.lock:
            ident = ident or self.ledger.uids.get((self.uidvalidity, uid), "")
        if ident:
            self.compare(ident, items, response)

    def whole(self, data: bytes | None, label: str, uid: int, response: Response) -> str:
        ident, why = identify(data) if data is not None else ("", "NIL")
        if why:
            self.violate("body", f"{label} of UID {uid} of {self.uidvalidity}: {why}")
        self.world.bodies += 1
        return "" if why else ident

    def compare(self, ident: str, items: dict[str, Any], response: Response) -> None:
        """What else is told of a message is what it is."""
        text = octets(ident)
        split = text.index(b"\r\n\r\n") + 4
        expected: dict[str, object] = {
            "RFC822.SIZE": len(text),
            "BODY[HEADER]": text[:split],
            "BODY[TEXT]": text[split:],
            "BODY[1]": text[split:],
        }
        for label, value in expected.items():
            if label in items and items[label] != value:
                self.violate("body", f"{label} of {ident}: {response.raw[:400]!r}")
        for label, value in items.items():
            if label.startswith("BODY[]<") and value != text[int(label[7:-1]) :][:CHUNK]:
                self.violate("body", f"{label} of {ident}: {response.raw[:400]!r}")
        if "ENVELOPE" in items and items["ENVELOPE"][1] != ident.encode():
            self.violate("body", f"ENVELOPE of {ident}: {response.raw[:400]!r}")

    # --- what is done -----------------------------------------------------------------------------

    def run(self, until: float) -> None:
        """Do anything until it is time to stop, and stay connected then."""
        while time.monotonic() < until:
            try:
                if self.wire is None:
                    self.connect()
                self.act()
                self.world.acts += 1
            except (Lost, TimeoutError, Ungrammatical) as error:
                self.trouble(error)
            except Exception:
                self.violate("defect", f"in the test itself: {traceback.format_exc()}")
                self.close()

    def trouble(self, error: Exception) -> None:
        if isinstance(error, Ungrammatical):
            self.violate("grammar", str(error))
        elif isinstance(error, TimeoutError):
            self.violate("silent", f"no answer: {[r.text[:80] for r in self.running]} {error}")
        elif self.certain and str(error) != "out of step":
            self.violate("lost", f"{error} during {[r.text[:80] for r in self.running]}")
        self.close()

    def settle(self) -> None:
        """Hear all there is to be heard."""
        for _ in range(3):
            try:
                if self.wire is None:
                    return
                self.command("NOOP")
                self.learn_unknown()
                return
            except (Lost, TimeoutError, Ungrammatical) as error:
                self.trouble(error)

    def folder(self, *, to: bool = False) -> str:
        """A mailbox, the first ones more often."""
        rng, kept = self.rng, self.world.kept
        draw = rng.random()
        if draw < 0.2:
            return rng.choice(FLEETING)
        if draw < 0.35:
            return rng.choice(WANDERING) + rng.choice(CHILDREN)
        return kept[rng.randrange(min(len(kept), 5))] if draw < 0.75 else rng.choice(kept)

    def open(self, name: str, how: str = "SELECT") -> bool:
        """Open a mailbox, if it is there."""
        text = f"{how} {name}" + (" (CONDSTORE)" if self.kind.condstore and self.rng.random() < 0.5 else "")
        running = self.running
        response = self.command(text)
        if response.name != "OK":
            self.forget()
            self.running = running
            return False
        self.mailbox, self.read_only = name, how == "EXAMINE"
        self.learn_unknown()
        return True

    def learn_unknown(self) -> None:
        """Ask for the UIDs of what has come."""
        for _ in range(8):
            if 0 not in self.messages:
                return
            at = self.messages.index(0)
            if self.kind.by_uid or self.rng.random() < 0.5:
                low = self.messages[at - 1] + 1 if at else 1
                text = f"UID FETCH {low}:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Ident)])"
                if self.command(text).code == "SERVERBUG":
                    return
            else:
                self.command(f"FETCH {at + 1}:{len(self.messages)} (UID FLAGS)")
                if 0 in self.messages:
                    self.command("NOOP")

    def known(self, kinds: str) -> list[int]:
        """UIDs of messages that may be moved (M) or removed (T)."""
        with self.ledger.lock:
            uids = self.ledger.uids
            return [uid for uid in self.messages if uid and uids.get((self.uidvalidity, uid), "P")[0] in kinds]

    def pick(self) -> tuple[str, str]:
        """A prefix and a set: by number or by UID."""
        rng = self.rng
        uids = [uid for uid in self.messages if uid]
        if uids and (self.kind.by_uid or rng.random() < 0.5):
            if rng.random() < 0.8:
                chosen = sorted(rng.sample(uids, min(len(uids), rng.choice((1, 1, 2, 5, 20)))))
                return "UID ", ",".join(map(str, chosen))
            return "UID ", f"{rng.choice(uids)}:*"
        low = rng.randint(1, len(self.messages))
        high = min(len(self.messages), low + rng.choice((0, 1, 5, 50)))
        return "", f"{low}:{high}"

    def some(self, uids: list[int], most: int = 4) -> str:
        return ",".join(map(str, sorted(self.rng.sample(uids, min(len(uids), self.rng.randint(1, most))))))

    def outgoing(self, name: str, count: int) -> tuple[bytes, list[str]]:
        """Messages for APPEND, and their names."""
        parts, idents = [], []
        for _ in range(count):
            size = self.rng.choice((200, 500, 1000, 1000, 4000, 20000))
            if self.rng.random() < 0.01:
                size = 300_000
            ident = self.ledger.name(self.rng.choice("PPMTTT") if not name.startswith("F") else "T", size)
            data = octets(ident)
            flags = " ".join(self.rng.sample(FLAGS, self.rng.randint(0, 2)))
            if "UTF8" in self.kind.enable and self.rng.random() < 0.3:
                parts.append(f" ({flags}) UTF8 (~{{{len(data)}+}}\r\n".encode() + data + b")")
            else:
                parts.append(f" ({flags}) {{{len(data)}+}}\r\n".encode() + data)
            idents.append(ident)
        return b"".join(parts), idents

    def append(self) -> None:
        name = self.folder()
        data, idents = self.outgoing(name, self.rng.choice((1, 1, 1, 1, 3)))
        self.command(f"APPEND {name}", data, idents, name)

    def harmless(self) -> str:
        """A command that changes nothing but flags."""
        prefix, chosen = self.pick()
        return self.rng.choice(
            (
                "NOOP",
                f"{prefix}FETCH {chosen} (FLAGS)",
                f"{prefix}FETCH {chosen} (UID BODY.PEEK[] FLAGS)",
                f"{prefix}FETCH {chosen} (UID BODY.PEEK[])",
                f"{prefix}FETCH {chosen} (UID RFC822.SIZE ENVELOPE INTERNALDATE BODYSTRUCTURE)",
                f"{prefix}FETCH {chosen} (UID BODY.PEEK[HEADER] BODY[TEXT])",
                f"{prefix}FETCH {chosen} (UID BODY.PEEK[]<{self.rng.choice((0, 100, 2000))}.{CHUNK}> BODY.PEEK[1])",
                f"{prefix}FETCH {chosen} (UID EMAILID PREVIEW SAVEDATE BODY BINARY.PEEK[] BINARY.SIZE[1])",
                f"{prefix}SEARCH UNSEEN",
                f"{prefix}SEARCH RETURN (COUNT MIN MAX ALL) SUBJECT x1",
                f"{prefix}STORE {chosen} {self.rng.choice('+-')}FLAGS ({self.rng.choice(FLAGS)})",
                f"STATUS {self.folder()} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)",
            )
        )

    def act(self) -> None:
        """One thing at random."""
        rng = self.rng
        if rng.random() < self.kind.fickle:
            self.break_off()
            return
        if self.notify and rng.random() < 0.2:
            self.listen(rng.random() * 0.05)
        if not self.mailbox or rng.random() < 0.1:
            if self.mailbox and rng.random() < 0.3:
                text = rng.choice(("CLOSE", "UNSELECT"))
                if text == "UNSELECT" or not self.read_only:
                    self.command(text)
                    self.forget()
            self.open(self.folder(), rng.choice(("SELECT", "SELECT", "SELECT", "EXAMINE")))
            return
        self.learn_unknown()
        if self.messages and rng.random() < 0.5:
            self.on_messages()
        else:
            self.on_mailboxes()

    def on_messages(self) -> None:
        rng = self.rng
        if self.kind.pipelines and rng.random() < 0.4:
            count = rng.randint(2, 6)
            for _ in range(count):
                self.start(self.harmless())
            for _ in range(count):
                self.finish()
            return
        movable, removable = self.known("MT"), self.known("T")
        match rng.randrange(12):
            case 0 | 1 if removable:
                chosen = self.some(removable)
                if self.command(f"UID STORE {chosen} +FLAGS (\\Deleted)").name == "OK":
                    self.command(f"UID EXPUNGE {chosen}" if rng.random() < 0.6 else "EXPUNGE")
            case 2:
                prefix, chosen = self.pick()
                self.command(f"{prefix}COPY {chosen} {self.folder()}")
            case 3 if movable:
                target = rng.choice(self.world.kept)
                self.command(f"UID MOVE {self.some(movable)} {target}")
            case 4 if removable:
                self.command(f"UID MOVE {self.some(removable)} {self.folder()}")
            case 7:
                self.seek()
            case 5 if self.kind.condstore:
                prefix, chosen = self.pick()
                self.command(f"{prefix}STORE {chosen} (UNCHANGEDSINCE {self.modseq}) +FLAGS (kw1)")
                self.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(1, self.modseq - 3)})")
            case 6:
                prefix, chosen = self.pick()
                self.command(f"{prefix}STORE {chosen} {self.rng.choice('+-')}FLAGS.SILENT ({self.rng.choice(FLAGS)})")
                self.command("UID FETCH 1:* (UID FLAGS)")
            case _:
                self.command(self.harmless())

    def seek(self) -> None:
        """Look for what a message says that nobody removes: it is found, whatever an index has of it."""
        pinned = [uid for uid in self.messages if (self.uidvalidity, uid) in self.ledger.pinned]
        if not pinned:
            return
        uid = self.rng.choice(pinned)
        head, _, body = octets(self.ledger.pinned[self.uidvalidity, uid]).decode().partition("\r\n\r\n")
        key, line = self.rng.choice((("BODY", body), ("TEXT", body), ("TEXT", head)))
        line = self.rng.choice([each for each in line.split("\r\n") if each])
        start = self.rng.randrange(len(line))
        needle = line[start : start + self.rng.choice((1, 2, 3, 8, 40))].strip()
        among = self.rng.choice((f"UID {uid} ", ""))
        self.searched = None
        response = self.command(f'UID SEARCH {among}{key} "{needle}"')
        if response.name == "OK" and self.searched is not None and uid not in self.searched:
            self.violate("search", f"UID {uid} has {needle!r} and is not found by {key} in {self.mailbox}")

    def on_mailboxes(self) -> None:
        rng = self.rng
        match rng.randrange(16):
            case 0 | 1 | 2 | 3:
                self.append()
            case 4 | 5:
                name = rng.choice(FLEETING)
                if self.mailbox == name:
                    self.command("UNSELECT")
                    self.forget()
                self.command(f"DELETE {name}")
                if rng.random() < 0.8:
                    self.command(f"CREATE {name}")
                    if rng.random() < 0.5:
                        data, idents = self.outgoing(name, 2)
                        self.command(f"APPEND {name}", data, idents, name)
            case 6:
                old, new = rng.sample(WANDERING, 2)
                if self.mailbox.startswith("W"):
                    self.command("UNSELECT")
                    self.forget()
                self.command(f"RENAME {old} {new}")
                if rng.random() < 0.3:
                    self.command(f"CREATE {old}{rng.choice(CHILDREN)}")
            case 7:
                names = [self.folder() for _ in range(rng.choice((3, 10, 30)))]
                for name in names:
                    self.start(f"STATUS {name} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ)")
                for _ in names:
                    self.finish()
            case 8:
                status = " RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE))"
                self.command(rng.choice(('LIST "" *', f'LIST "" *{status}', 'LSUB "" *', 'LIST "" W%')))
            case 9 | 10 | 11:
                self.idle()
            case 12:
                self.command(f"{rng.choice(('SUBSCRIBE', 'UNSUBSCRIBE'))} {self.folder()}")
            case 13 if self.kind.notify:
                if self.notify and rng.random() < 0.5:
                    self.command("NOTIFY NONE")
                    self.notify = ""
                else:
                    self.set_notify()
            case 14:
                self.come_back()
            case _:
                self.command(rng.choice(("NOOP", "CHECK", "CAPABILITY", "NAMESPACE", 'ID ("name" "stress")')))

    def idle(self) -> None:
        self.start("IDLE")
        if self.finish().tag == "+":
            self.listen(self.rng.random() * 0.2)
            self.send(b"DONE\r\n")
            self.finish()

    def come_back(self) -> None:
        """Log out, and come back; with QRESYNC to the mailbox that was open."""
        self.command("NOOP")
        self.learn_unknown()
        before = set(self.messages)
        name, validity, modseq, whole = self.mailbox, self.uidvalidity, self.modseq, 0 not in self.messages
        self.start("LOGOUT")
        with contextlib.suppress(Lost):
            self.finish()
        self.close()
        self.connect()
        if not (name and modseq and self.kind.qresync):
            return
        self.vanished.clear()
        if self.command(f"SELECT {name} (QRESYNC ({validity} {modseq}))").name != "OK":
            return
        self.mailbox = name
        if self.uidvalidity == validity and whole:
            left = before - self.vanished
            if len(left | {uid for uid in self.messages if uid}) != len(self.messages):
                self.violate(
                    "qresync", f"{len(before)} known, {len(self.vanished)} vanished, {len(self.messages)} there"
                )
        self.learn_unknown()

    # --- breaking off -----------------------------------------------------------------------------

    def break_off(self) -> None:
        """Leave without a word, in the middle of something."""
        rng = self.rng
        wire = self.wire
        assert wire is not None
        if not self.mailbox and rng.random() < 0.8:
            self.open(self.folder())
        if rng.random() < 0.5:
            self.herd()
            return
        way = rng.randrange(8)
        self.log(f"break off {way}")
        match way:
            case 0 | 1:
                self.start("IDLE")
                if self.finish().tag == "+":
                    self.listen(rng.random() * 0.1)
            case 2:
                data, _ = self.outgoing("K0", 2)
                self.send(b"x APPEND K0" + data[: rng.randrange(1, len(data))])
            case 3:
                self.send(b"x UID FETCH 1:* (FLAGS BODY.PEEK[])\r\n" * rng.randint(1, 3))
            case 4:
                text = b'x LIST "" *\r\nx STATUS INBOX (MESSAGES)\r\n'
                self.send(text[: rng.randrange(1, len(text))])
            case 5:
                self.handshake()
            case 6:
                self.send(b"".join(b"x%d STATUS K0 (MESSAGES UIDNEXT UIDVALIDITY)\r\n" % n for n in range(5)))
            case 7:
                # An answer and the end of the connection meet: whoever rings now rings at a bell that is gone.
                self.send(b"x NOOP\r\n")
        if rng.random() < 0.4:
            wire.half_close()
            self.drain(wire)
            wire.close()
        else:
            wire.reset()
        self.close()

    def herd(self) -> None:
        """Go when many others go, or change something just then: whoever is to be woken has just left."""
        rng = self.rng
        assert self.wire is not None
        if self.mailbox != self.world.kept[1] and not self.open(self.world.kept[1]):
            return
        idles = rng.random() < 0.3
        if idles:
            self.start("IDLE")
            idles = self.finish().tag == "+"
        time.sleep(HERD - time.time() % HERD)
        if idles or rng.random() < 0.5:
            self.log("reset with the herd")
            self.wire.reset()
            self.close()
            return
        name = self.world.kept[1]
        for _ in range(4):
            data, idents = self.outgoing(name, 1)
            self.command(f"APPEND {name}", data, idents, name)

    def drain(self, wire: Wire) -> None:
        """Hear, after the FIN, all that the server still says; then it closes."""
        until = time.monotonic() + ANSWER_WITHIN
        try:
            while time.monotonic() < until:
                while (raw := wire.cutter.next()) is not None:
                    self.log(f"S: {raw[:160]!r}")
                    grammar.parse(raw, utf8=self.kind.utf8)
                wire.receive(1.0)
            self.violate("silent", "a half-closed connection stays")
        except Lost as error:
            if wire.cutter.rest and not self.kind.tls and str(error) == "closed":
                self.violate("grammar", f"half a response at the end: {wire.cutter.rest[:100]!r}")
        except (zlib.error, ValueError):
            pass  # TLS that ends without its close is no stream any more

    def handshake(self) -> None:
        """Break off a second connection in the middle of TLS."""
        into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        shaking = self.world.tls.wrap_bio(into, out, server_hostname="localhost")
        with contextlib.suppress(ssl.SSLWantReadError):
            shaking.do_handshake()
        hello = out.read()
        try:
            other = Wire(socket.create_connection(("127.0.0.1", self.server.tls_port), timeout=10))
            other.send(hello[: self.rng.randrange(1, len(hello) + 1)])
            if self.rng.random() < 0.5:
                other.half_close()
            other.reset()
        except (OSError, Lost):
            pass  # it need not wait for us


def certain(name: str) -> bool:
    """Whether nobody deletes or renames that mailbox."""
    return not name.startswith(("F", "W"))


# --- outside programs ---------------------------------------------------------------------------------


class Outside:
    """An MDA, a mail program and a person with a shell, on the spools themselves."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.rng = random.Random(f"outside {seed}")

    def run(self, over: threading.Event) -> None:
        while not over.wait(0.004):
            ledger = self.rng.choice(self.world.ledgers)
            try:
                self.act(ledger, self.world.spools[ledger.user])
                self.world.outside += 1
            except OSError:
                pass  # Race: somebody was faster.

    def act(self, ledger: Ledger, spool: Spool) -> None:
        rng = self.rng
        kept = self.world.kept
        name = kept[rng.randrange(min(len(kept), 5))] if rng.random() < 0.6 else rng.choice(kept)
        draw = rng.random()
        if draw < 0.35:
            ident = ledger.name(rng.choice("PMT"), rng.choice((300, 1000, 5000)))
            spool.put(
                name, octets(ident).replace(b"\r\n", b"\n"), None, when=None, base=f"{time.time_ns()}.{ident}.mda"
            )
            if ident[0] in "PM":
                with ledger.lock:
                    ledger.safe[ident] = f"{name}, delivered from outside"
            return
        path = spool.path(name)
        sub = rng.choice(("cur", "cur", "cur", "new"))
        names = os.listdir(path / sub)
        if not names:
            return
        file = rng.choice(names)
        if draw < 0.85:
            base, _, flags = file.partition(":2,")
            flags = "".join(sorted(set(flags) ^ {rng.choice("FRS")}))
            os.rename(path / sub / file, path / "cur" / f"{base}:2,{flags}")
        elif (path / sub / file).read_bytes().startswith(b"X-Ident: T"):
            (path / sub / file).unlink()


# --- all of it ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What is to be done. *kept*: mailboxes an account keeps open, None: as many as it would."""

    base: Path
    seed: int = 0
    seconds: float = 30.0
    users: int = 4
    clients: int = 24
    workers: int = 2
    folders: int = 8
    kept: int | None = None
    restless: bool = False
    share: float = 0.15
    check_locks: bool = False
    sanitize: bool = False
    outsiders: int = 2
    hosts: int = 1
    befores: tuple[tuple[str, ...], ...] = ()  # words that have a server run on another host, beside this machine's
    clocks: float = 0.0  # seconds by which each host's clock is ahead of the one before
    transcripts: bool = False
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        words = [
            f"seed {self.seed}: {self.seconds:g} s, {self.users} users, {self.clients} clients",
            f"{len(self.befores) + 1 if self.befores else self.hosts} hosts" if self.hosts > 1 or self.befores else "",
            f"clocks {self.clocks:g} s apart" if self.clocks else "",
            f"{self.workers} workers, {self.folders} folders a user",
            "restless" if self.restless else "",
            f"{self.kept} kept" if self.kept is not None else "",
            " ".join(self.options),
        ]
        return ", ".join(filter(None, words))


class World:
    """A server, its users, its clients, and what became of them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.violations = Violations()
        self.kept = ["INBOX", *[f"K{n}" for n in range(plan.folders)]]
        self.ledgers = [Ledger(f"u{n}") for n in range(plan.users)]
        self.spools: dict[str, Spool] = {}
        self.servers: list[Running] = []
        self.clients: list[Client] = []
        self.counts: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.acts = self.octets = self.bodies = self.outside = 0
        self.started = time.time()

    def transcript(self, number: int) -> IO[str] | None:
        """Where a client's conversation is written down."""
        if not self.plan.transcripts:
            return None
        return (self.plan.base / f"transcript-{number}").open("w")

    def done(self, word: str, response: Response) -> None:
        """Count a command."""
        self.counts[word] += 1
        if response.name != "OK":
            self.refusals[f"{word} {response.name} {response.code}"] += 1

    # --- the whole ----------------------------------------------------------------------------------

    def run(self) -> Violations:
        """Do all of it, and return what was wrong."""
        self.prepare()
        try:
            self.servers.append(self.start())
            befores = self.plan.befores or [hosts.another(self.plan.base, n) for n in range(1, self.plan.hosts)]
            for number, before in enumerate(befores, 1):
                self.servers.append(self.start(f"log-{number}", before, clock=self.plan.clocks * number))
            self.serve()
        finally:
            for client in self.clients:
                client.close()
            for server in self.servers:
                try:
                    stop_server(server)
                except (AssertionError, OSError) as error:
                    self.violations.add("server", f"it does not end as it should: {error!r}")
        self.read_logs()
        self.look_at_files()
        return self.violations

    def prepare(self) -> None:
        """Make the spools."""
        for ledger in self.ledgers:
            spool = self.spools[ledger.user] = Spool(self.plan.base / ledger.user / "Maildir")
            for name in [*self.kept[1:], *FLEETING, "W0", "W0.Child", "W0.Child.Deep", "W1"]:
                spool.folder(name)

    def start(self, log: str = "log", before: Sequence[str] = (), clock: float = 0.0) -> Running:
        """Start a server through restless.py."""
        plan = self.plan
        for name in ("report", "sanitizer"):
            (plan.base / name).mkdir(exist_ok=True)
        words = [str(Path(__file__).with_name("restless.py")), f"--seed={plan.seed}", f"--report={plan.base}/report"]
        words += [f"--share={plan.share}"] if plan.restless else ["--share=0", "--switch=0"]
        words += [f"--kept={plan.kept}"] if plan.kept is not None else []
        words += [f"--clock={clock}"] if clock else []
        words += ["--check-locks"] if plan.check_locks else []
        words += [f"--sanitize={plan.base}/sanitizer"] if plan.sanitize else []
        limits = [f"--connections-per-{what}=100000" for what in ("address", "user")]
        server = start_server(
            plan.base,
            f"--workers={plan.workers}",
            *limits,
            *plan.options,
            users=plan.users,
            program=[*words, "--"],
            before=before,
            log=log,
        )
        self.tls = ssl.create_default_context(cafile=str(plan.base / "cert.pem"))
        return server

    def serve(self) -> None:
        """Let everybody loose, and look what is left."""
        before = self.held()
        self.clients = [
            Client(self, self.ledgers[n % len(self.ledgers)], KINDS[n % len(KINDS)], n)
            for n in range(self.plan.clients)
        ]
        over = threading.Event()
        others = [
            threading.Thread(target=Outside(self, self.plan.seed * 100 + n).run, args=(over,))
            for n in range(self.plan.outsiders)
        ]
        until = time.monotonic() + self.plan.seconds
        threads = [threading.Thread(target=client.run, args=(until,)) for client in self.clients]
        for thread in [*threads, *others]:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        for thread in others:
            thread.join()
        self.let_stamps_settle()
        for _ in range(2):
            for client in self.clients:
                client.settle()
        self.in_parallel(self.compare, self.ledgers)
        for client in self.clients:
            client.close()
        self.compare_held(before)

    def let_stamps_settle(self) -> None:
        """Wait until no directory's stamp can hide what another program did in the tick of its clock (scan.py, b)."""
        last = max((time.time(), *(os.stat(path).st_mtime for path in self.plan.base.glob("u*/Maildir/**/cur"))))
        time.sleep(max(0.0, last + 2.2 - time.time()))

    def in_parallel(self, work: Callable[[Any], None], items: Iterable[Any]) -> None:
        left = list(items)
        lock = threading.Lock()

        def take() -> None:
            while True:
                with lock:
                    if not left:
                        return
                    item = left.pop()
                try:
                    work(item)
                except Exception:
                    self.violations.add("defect", f"while comparing {item}: {traceback.format_exc()}"[:3000])

        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    # --- the end --------------------------------------------------------------------------------------

    def compare(self, ledger: Ledger) -> None:
        """What a newcomer is told, what lies on the disk, and what was acknowledged are the same."""
        found: dict[tuple[int, int], str] = {}
        flags: dict[str, dict[int, frozenset[str]]] = {}
        for server in self.servers:
            fresh = Client(self, ledger, Kind(), 1_000_000)
            fresh.server = server
            try:
                fresh.connect()
                for path in folders(self.spools[ledger.user].root):
                    self.compare_folder(fresh, path, ledger, found, flags)
            except (Lost, TimeoutError, Ungrammatical) as error:
                fresh.violate("newcomer", f"{type(error).__name__} {error}")
            finally:
                fresh.close()
        with ledger.lock:
            pinned, safe = dict(ledger.pinned), dict(ledger.safe)
        for where, ident in pinned.items():
            if found.get(where) != ident:
                self.violations.add("lost-uid", f"UID {where[1]} of {where[0]} was {ident}, is {found.get(where)}")
        there = set(found.values())
        for ident, where in safe.items():
            if ident not in there:
                self.violations.add("lost-message", f"{ident} in {where}")
        for client in self.clients:
            if client.ledger is ledger and client.hears and client.mailbox in flags:
                # Of a message whose UID came with its body the flags have not been told.
                expected = flags[client.mailbox]
                told = {uid: client.flags.get(uid, expected.get(uid)) for uid in client.messages}
                if told != expected:
                    different = {u: (told.get(u), expected.get(u)) for u in told.keys() | expected.keys()}
                    different = {u: both for u, both in different.items() if both[0] != both[1]}
                    what = f"{len(different)} of {len(expected)} (told, newcomer): {dict(list(different.items())[:4])}"
                    client.violate("stale", f"{client.kind}: {what}")

    def compare_folder(
        self,
        fresh: Client,
        path: Path,
        ledger: Ledger,
        found: dict[tuple[int, int], str],
        flags: dict[str, dict[int, frozenset[str]]],
    ) -> None:
        root = self.spools[ledger.user].root
        name = "INBOX" if path == root else path.name[1:]
        if not fresh.open(name):
            fresh.violate("newcomer", f"{name} cannot be opened")
            return
        fresh.command("NOOP")
        if fresh.messages:
            fresh.command("UID FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[])")
        with ledger.lock:
            told = {uid: ledger.uids.get((fresh.uidvalidity, uid), "?") for uid in fresh.messages}
        flags[name] = dict(fresh.flags)
        for uid, ident in told.items():
            found[fresh.uidvalidity, uid] = ident
        on_disk = Counter[str]()
        for file in [*(path / "cur").iterdir(), *(path / "new").iterdir()]:
            if file.name.startswith("."):
                continue
            ident, _ = identify(file.read_bytes(), on_disk=True)  # what is wrong is told by look_at_files
            on_disk[ident or "?"] += 1
        if Counter(told.values()) != on_disk:
            seen = Counter(told.values())
            what = f"told and not there {list((seen - on_disk).items())[:5]}, there and not told"
            fresh.violate("disk", f"{name}: {what} {list((on_disk - seen).items())[:5]}")
        other = Mailbox(os.fsencode(path), fsync="never")
        try:
            known = other.sync(keep_new=True)
            if (known.uidvalidity, list(known.uids)) != (fresh.uidvalidity, fresh.messages):
                lists = f"{known.uidvalidity} {list(known.uids)[-20:]}, {fresh.uidvalidity} {fresh.messages[-20:]}"
                fresh.violate("newcomer", f"{name}: a new process and the server do not agree: {lists}")
        finally:
            other.close()

    def look_at_files(self) -> None:
        """Each octet of each message file is what it was made of."""
        for ledger in self.ledgers:
            for path in folders(self.spools[ledger.user].root):
                for file in [*(path / "cur").iterdir(), *(path / "new").iterdir()]:
                    data = file.read_bytes()
                    ident, why = identify(data, on_disk=True)
                    if why:
                        self.violations.add("file", f"{file.relative_to(self.plan.base)}: {why}")
                    elif not ident[1:].startswith(ledger.user + "x"):
                        self.violations.add("other-user", f"{file.relative_to(self.plan.base)} is {ident}")
                    size = re.search(r",S=(\d+)", file.name)
                    if size and int(size[1]) != len(data):
                        self.violations.add("file", f"{file.name} has {len(data)} octets")
                for file in (path / "tmp").iterdir():
                    ident, _ = identify(file.read_bytes(), on_disk=True)
                    if ident in ledger.acknowledged:
                        self.violations.add("tmp", f"{file.relative_to(self.plan.base)} is {ident}, acknowledged")

    def read_logs(self) -> None:
        """What the server says of itself."""
        bad = re.compile(r"Traceback \(|damaged|worker.*(?:died|hangs)|internal error|SERVERBUG|Bad file desc")
        for log in self.plan.base.glob("log*"):
            lines = log.read_text(errors="replace").splitlines()
            for n, line in enumerate(lines):
                if bad.search(line):
                    self.violations.add("log", line[:300], lines[n : n + 14] if "internal error" in line else ())
        for report in sorted((self.plan.base / "sanitizer").glob("*")):
            for found in report.read_text().split("\n\n"):
                if found.strip():
                    self.violations.add("descriptor", found.strip()[:3000])

    # --- what the processes hold ------------------------------------------------------------------------

    def held(self) -> dict[int, dict[str, Any]]:
        """What each worker holds: descriptors by kind, threads, listeners, sessions."""
        found = {}
        for server in self.servers:
            pid = server.process.pid
            for worker in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
                found[worker] = {**descriptors(worker), **self.report(worker)}
        return found

    def report(self, worker: int) -> dict[str, Any]:
        path = self.plan.base / "report" / str(worker)
        path.unlink(missing_ok=True)
        path.with_suffix(".please").touch()
        until = time.monotonic() + ANSWER_WITHIN
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.02)
        return dict(json.loads(path.read_text())) if path.exists() else {"report": "none"}

    def compare_held(self, before: dict[int, dict[str, Any]]) -> None:
        """Once all clients are gone the workers hold what they held."""
        until = time.monotonic() + 15
        while True:
            after = self.held()
            wrong = []
            if after.keys() != before.keys():
                wrong.append(f"workers {sorted(before)} are {sorted(after)} now")
            for pid in after.keys() & before.keys():
                then, now = dict(before[pid]), after[pid]
                # The second one is made when it is first needed (store/threads/still.py).
                then["inotify"] = max(then.get("inotify", 0), min(now.get("inotify", 0), 2))
                # What mailboxes hold that are kept open is no leak.
                kinds = ("socket", "eventfd", "pipe", "inotify", "mail", "threads", "listeners", "sessions", "report")
                wrong += [
                    f"worker {pid}: {kind} {then.get(kind, 0)} before, {now.get(kind, 0)} after"
                    for kind in kinds
                    if then.get(kind, 0) != now.get(kind, 0)
                ]
            if not wrong or time.monotonic() > until:
                break
            time.sleep(0.3)
        self.after = after
        for what in wrong:
            self.violations.add("held", what)

    def summary(self) -> str:
        """What was done, and what was wrong."""
        done = f"{sum(self.counts.values())} commands, {self.bodies} bodies, {self.octets >> 10} KiB of answers checked"
        lines = [
            str(self.plan),
            f"  {done}, {self.outside} acts from outside",
            "  " + ", ".join(f"{word} {count}" for word, count in self.counts.most_common()),
            "  refused: " + (", ".join(f"{what} {count}" for what, count in self.refusals.most_common()) or "nothing"),
            f"  held in the end: {getattr(self, 'after', '-')}",
        ]
        if self.violations:
            lines.append("  VIOLATIONS: " + ", ".join(f"{k} {n}" for k, n in self.violations.counts.most_common()))
            lines += [f"    {violation}" for violation in self.violations.first]
        else:
            lines.append("  nothing wrong")
        return "\n".join(lines)


def folders(root: Path) -> list[Path]:
    """The folders of a spool, INBOX first."""
    return [root, *[path for path in sorted(root.glob(".[!.]*")) if (path / "cur").is_dir()]]


def descriptors(pid: int) -> Counter[str]:
    """The open descriptors of a process, by kind."""
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if re.search(r"Maildir/(?:[^/]+/)?(?:cur|new|tmp)/[^/]+$", target):
            found["mail"] += 1
        elif target.startswith("anon_inode:"):
            found[target.removeprefix("anon_inode:").strip("[]")] += 1
        elif ":" in target and not target.startswith("/"):
            found[target.partition(":")[0]] += 1
        else:
            found["file"] += 1
    return found


# --- by hand --------------------------------------------------------------------------------------------


def seeds_of(text: str) -> list[int]:
    """Read "3" or "1-20"."""
    low, _, high = text.partition("-")
    try:
        return list(range(int(low), int(high or low) + 1))
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number, or two as 1-20") from None


def main() -> int:
    """``scripts/stress``"""
    parser = argparse.ArgumentParser(
        prog="scripts/stress",
        description="Set random clients and outside programs upon a server, and check every octet of what it says "
        "and of what lies on the disk. Exit status 1: something was wrong.",
        epilog="Spools and logs of a seed that went wrong are kept, and named.",
    )
    parser.add_argument("--seconds", type=float, default=30, help="for each seed (30)")
    parser.add_argument("--seeds", "--seed", type=seeds_of, default=[0], metavar="N[-M]", help="one seed, or several")
    parser.add_argument("--users", type=int, default=4)
    parser.add_argument("--clients", type=int, default=24, help="all users' together")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--hosts", type=int, default=1, help="as many servers, each as on a machine of its own")
    parser.add_argument("--clocks", type=float, default=0.0, help="seconds by which their clocks are apart")
    parser.add_argument("--before", action="append", default=[], help="words before a further server's command")
    parser.add_argument("--folders", type=int, default=8, help="that stay, of each user; others come and go")
    parser.add_argument("--kept", type=int, help="mailboxes an account keeps open that nobody has selected")
    parser.add_argument("--restless", action="store_true", help="calls of the system rest (tests/restless.py)")
    parser.add_argument("--share", type=float, default=0.15, help="of the calls that rest")
    parser.add_argument("--check-locks", action="store_true", help="raise where the order of locks is not kept")
    parser.add_argument("--sanitize", action="store_true", help="watch who uses whose descriptors")
    parser.add_argument("--transcripts", action="store_true", help="write down what each client hears and says")
    parser.add_argument("--outsiders", type=int, default=2, help="programs that change the spools themselves")
    parser.add_argument("--options", default="", help="for the server, in one word: '--watch=poll --fsync=always'")
    parser.add_argument("--base", type=Path, help="make spools and logs below this directory, and keep them")
    options = parser.parse_args()
    failed = False
    for seed in options.seeds:
        base = Path(tempfile.mkdtemp(prefix=f"stress-{seed}-", dir=options.base))
        plan = Plan(
            base,
            seed=seed,
            seconds=options.seconds,
            users=options.users,
            clients=options.clients,
            workers=options.workers,
            folders=options.folders,
            kept=options.kept,
            restless=options.restless,
            share=options.share,
            check_locks=options.check_locks,
            sanitize=options.sanitize,
            outsiders=options.outsiders,
            hosts=options.hosts,
            befores=tuple(tuple(words.split()) for words in options.before),
            clocks=options.clocks,
            transcripts=options.transcripts,
            options=tuple(options.options.split()),
        )
        world = World(plan)
        violations = world.run()
        print(world.summary(), flush=True)
        if violations:
            failed = True
            print(f"  kept: {base}", flush=True)
        elif options.base is None:
            shutil.rmtree(base)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
