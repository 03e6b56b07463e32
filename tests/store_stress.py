"""Clients over sockets that do anything at random and check everything they are told: for tests.

In the manner of Dovecot's imaptest.  Every message carries a marker, so that whoever is shown another message under a
UID finds out; ``Ledger`` holds what all clients together have learnt, ``Hammer`` is one of them.
"""

from __future__ import annotations

import contextlib
import random
import re
import select
import socket
import ssl
import threading
import time
import zlib
from collections import Counter
from dataclasses import dataclass, field

from client import Client
from model_client import Believer, numbers
from running import Running
from spool import Spool
from stress import REFUSED

KEPT = ("INBOX", "Work", "Archive")
FLEETING = ("Fleeting", "Fleeting.Child", "Other")
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "kw1", "$Forwarded")
# During these no number may change (RFC 3501 7.4.1); with UID before them they may.
BY_NUMBER = ("FETCH", "STORE", "SEARCH", "SORT", "THREAD")
ANSWER_WITHIN = 60.0  # seconds; a server that takes longer has forgotten us

MESSAGE = (
    "From: Ann <ann@example.org>\r\nTo: ben@example.net\r\nSubject: {marker}\r\nX-Marker: {marker}\r\n"
    "Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{marker}@example.org>\r\n\r\nbody of {marker}\r\n"
)


class Lost(Exception):
    """The connection has gone; a mistake unless somebody has killed a worker, or the mailbox."""


class Deflated:
    """A socket inside COMPRESS=DEFLATE."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._out = zlib.compressobj(wbits=-15)
        self._in = zlib.decompressobj(wbits=-15)

    def sendall(self, data: bytes) -> None:
        self._sock.sendall(self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, size: int) -> bytes:
        while True:
            packed = self._sock.recv(size)
            data = self._in.decompress(packed)
            if data or not packed:
                return data

    def fileno(self) -> int:
        return self._sock.fileno()

    def pending(self) -> int:
        return self._sock.pending() if isinstance(self._sock, ssl.SSLSocket) else 0

    def close(self) -> None:
        self._sock.close()


@dataclass
class Ledger:
    """What all clients of one user know together.

    *markers*: by UIDVALIDITY and UID, which no two mailboxes share.  *counts*, *refusals*: commands, and those that
    were answered NO.  *safe*: what is stored, as somebody was told, and nobody ever removes.
    """

    markers: dict[tuple[int, int], str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    safe: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    serial: int = 0

    def marker(self, *, precious: bool) -> str:
        """Make a marker; of what is *precious* nobody may remove the last copy."""
        with self.lock:
            self.serial += 1
            return f"{'P' if precious else 'T'}{self.serial}x"

    def learn(self, uidvalidity: int, uid: int, marker: str, where: object) -> None:
        """One UID is one message, for ever."""
        with self.lock:
            known = self.markers.setdefault((uidvalidity, uid), marker)
        assert known == marker, f"UID {uid} of {uidvalidity} was {known} and is {marker}: {where}"

    def copied(self, from_: int, olds: list[int], to: int, news: list[int], where: object) -> None:
        """COPYUID: what the new UIDs are is known, too."""
        assert len(olds) == len(news), where
        assert news == sorted(set(news)), where
        for old, new in zip(olds, news, strict=True):
            marker = self.markers.get((from_, old))
            if marker is not None:
                self.learn(to, new, marker, where)


@dataclass(frozen=True)
class Kind:
    """What a client has enabled, and how it behaves."""

    tls: bool = False
    compress: bool = False
    enable: str = ""
    notify: str = ""
    idles: bool = False
    pipelines: bool = False
    by_uid: bool = False

    @property
    def qresync(self) -> bool:
        return "QRESYNC" in self.enable

    @property
    def condstore(self) -> bool:
        return self.qresync or "CONDSTORE" in self.enable


KINDS = (
    Kind(),
    Kind(tls=True, enable="QRESYNC"),
    Kind(compress=True, enable="IMAP4rev2"),
    Kind(tls=True, compress=True, enable="CONDSTORE", idles=True),
    Kind(enable="QRESYNC IMAP4rev2", idles=True),
    Kind(enable="UTF8=ACCEPT QRESYNC", pipelines=True, by_uid=True),
    Kind(
        notify="(selected (MessageNew MessageExpunge FlagChange)) (personal (MessageNew MessageExpunge MailboxName))",
        by_uid=True,
    ),
    Kind(
        tls=True,
        enable="QRESYNC",
        notify="(selected-delayed (MessageNew MessageExpunge FlagChange)) "
        "(personal (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange MailboxMetadataChange))",
    ),
    Kind(tls=True, pipelines=True, by_uid=True, idles=True),
    Kind(compress=True),
)


class Hammer(Believer):
    """One client."""

    def __init__(self, server: Running, user: str, kind: Kind, ledger: Ledger, seed: int) -> None:
        super().__init__(follows_modseq=kind.condstore)
        self.rng = random.Random(seed)
        self.server, self.user, self.kind, self.ledger = server, user, kind, ledger
        self.client: Client | None = None
        self.mailbox = ""
        self.running: list[tuple[str, str, bool]] = []  # tag, command, whether it is by number
        self.tags = 0
        self.appended: tuple[str, ...] = ()  # markers of the APPEND under way
        self.modseqs: dict[tuple[int, int], int] = {}
        self.highest: dict[int, int] = {}  # mod-sequences, by UIDVALIDITY
        self.uidnext: dict[int, int] = {}
        self.names: set[str] = set()  # that can be opened; kept up only with NOTIFY
        self.recent: list[str] = []  # what was said of late, for whoever reads of a failure

    # --- the wire ---------------------------------------------------------------------------------

    def connect(self) -> None:
        """Log in, and enable what this kind enables."""
        self.close()
        sock = self.server.connect(tls=self.kind.tls)
        sock.settimeout(ANSWER_WITHIN)
        self.client = Client(sock)
        self._response()
        self.ok(f"LOGIN {self.user} secret")
        if self.kind.compress:
            self.ok("COMPRESS DEFLATE")
            self.client.sock = Deflated(sock)  # type: ignore[assignment]  # what a client needs of a socket
        if self.kind.enable:
            self.ok(f"ENABLE {self.kind.enable}")
        if self.kind.notify:
            self.ok(f"NOTIFY SET {self.kind.notify}")
            self.list()

    def list(self) -> set[str]:
        """Ask for the names of all mailboxes."""
        self.names = set()
        self.ok('LIST "" *')
        return self.names

    def close(self) -> None:
        """Forget the connection."""
        if self.client is not None:
            self.client.close()
            self.client = None
        self.mailbox, self.messages, self.running = "", [], []

    def _response(self) -> str:
        """The next response, its literals replaced by what they hold, on one line."""
        assert self.client is not None
        text = ""
        try:
            while True:
                line = self.client.line()
                if self.client.closed:
                    raise Lost("closed")
                text += line.decode("utf-8", "surrogateescape")
                match = re.search(r"~?\{(\d+)\}$", text)
                if match is None:
                    break
                data = self.client.octets(int(match[1])).decode("latin-1")
                text = text[: match.start()] + '"' + data.replace("\r\n", "\x00").replace(")", "]") + '"'
        except (OSError, AssertionError) as error:
            raise Lost(str(error)) from error
        self.recent = [*self.recent[-80:], "S: " + text[:300]]
        return text

    def _send(self, data: bytes) -> None:
        assert self.client is not None
        self.recent = [*self.recent[-80:], f"C: {data[:300]!r}"]
        try:
            self.client.send(data)
        except OSError as error:
            raise Lost(str(error)) from error

    def start(self, text: str, literals: bytes = b"") -> None:
        """Send a command; *literals* is what follows on its line."""
        self.tags += 1
        tag = f"a{self.tags}"
        self.running.append((tag, text, text.split()[0] in BY_NUMBER))
        self._send(f"{tag} {text}".encode() + literals + b"\r\n")

    def finish(self) -> str:
        """Read up to the tagged line of the oldest command, and return it."""
        tag, text, _ = self.running[0]
        while True:
            line = self._response()
            if line.startswith("+"):
                return line
            if line.startswith("* BYE"):
                raise Lost(line)
            if line.startswith("* "):
                self.hear(line)
                continue
            assert line.startswith(tag + " "), f"expected the end of {tag}: {line}"
            self.hear(line.removeprefix(tag + " "))
            self.running.pop(0)
            word = " ".join(text.split()[: 2 if text.startswith("UID") else 1])
            kind = line.split()[1]
            assert kind in ("OK", "NO"), f"{text}: {line}"
            code = re.search(r"\[([A-Z]+)", line)
            with self.ledger.lock:
                self.ledger.counts[word] += 1
                if kind == "NO":
                    self.ledger.refusals[f"{word}: {line.partition(' NO ')[2]}"] += 1
            assert kind == "OK" or (code and code[1] in REFUSED), f"{text}: {line}"
            return line

    def command(self, text: str) -> str:
        """Send one command; its tagged line."""
        assert not self.running
        self.start(text)
        return self.finish()

    def ok(self, text: str) -> None:
        """As ``command``, and it must be OK."""
        line = self.command(text)
        assert " OK" in line, f"{text}: {line}"

    def listen(self, seconds: float) -> None:
        """Hear what comes by itself."""
        assert self.client is not None
        until = time.monotonic() + seconds
        while True:
            sock = self.client.sock
            ready = b"\r\n" in self.client._in or (hasattr(sock, "pending") and sock.pending())
            if not ready and not select.select([sock.fileno()], [], [], max(0.0, until - time.monotonic()))[0]:
                return
            line = self._response()
            if line.startswith("* BYE"):
                raise Lost(line)
            self.hear(line)

    # --- what is checked ----------------------------------------------------------------------------

    def hear(self, line: str) -> None:
        """Take in one response, and complain of what no server may say now."""
        running = self.running[0] if self.running else ("", "", False)
        where = (self.kind, running, line)
        assert running[0] or self.kind.notify, where
        if match := re.match(r"\* (\d+) EXISTS", line):
            assert self.mailbox or running[1].startswith(("SELECT", "EXAMINE")), where
            assert int(match[1]) >= len(self.messages), (where, len(self.messages))
        elif match := re.match(r"\* (\d+) EXPUNGE", line):
            assert 1 <= int(match[1]) <= len(self.messages), (where, len(self.messages))
            assert not running[2], where
            assert not self.kind.qresync, where
            assert running[0] or "(selected " in self.kind.notify, where
        elif match := re.match(r"\* VANISHED (\S+)", line):
            assert self.kind.qresync, where
            if "(EARLIER)" not in line:
                assert not running[2], where
                assert running[0] or "(selected " in self.kind.notify, where
                strangers = numbers(match[1]) - {uid for uid, _ in self.messages}
                assert len(strangers) <= len(self.unknown()), where
        elif match := re.match(r"\* (\d+) FETCH", line):
            assert 1 <= int(match[1]) <= len(self.messages), (where, len(self.messages))
        elif match := re.match(r"\* (?:SEARCH|SORT)((?: \d+)*)", line):
            if running[2]:
                assert all(1 <= int(n) <= len(self.messages) for n in match[1].split()), where
        elif "[CLOSED]" in line:
            self.messages, self.mailbox = [], ""
        elif match := re.match(r"\* STATUS (\S+) \(.*UIDNEXT (\d+) UIDVALIDITY (\d+)", line):
            self._uidnext(int(match[3]), int(match[2]), where)
        elif match := re.match(r'\* LIST \(([^)]*)\) "." (\S+)(?: \("OLDNAME" \((\S+)\)\))?', line):
            self._named(match[2], match[1].split(), match[3])
        super().hear(line)
        if match := re.search(r"\[UIDNEXT (\d+)\]", line):
            self._uidnext(self.uidvalidity, int(match[1]), where)
        if match := re.match(r"\* (\d+) FETCH", line):
            self._look_at(int(match[1]), line, where)
        match = re.search(r"\[HIGHESTMODSEQ (\d+)\]", line)
        if match and running[1].startswith(("SELECT", "EXAMINE")):
            assert int(match[1]) >= self.highest.get(self.uidvalidity, 0), (where, self.highest)
        if match := re.search(r"\[APPENDUID (\d+) (\S+)\]", line):
            news = sorted(numbers(match[2]))
            for uid, marker in zip(news, self.appended, strict=True):
                self.ledger.learn(int(match[1]), uid, marker, where)
        if match := re.search(r"\[COPYUID (\d+) (\S+) (\S+)\]", line):
            self.ledger.copied(self.uidvalidity, in_order(match[2]), int(match[1]), in_order(match[3]), where)

    def _named(self, name: str, attributes: list[str], old: str | None) -> None:
        if old:
            moved = {n for n in self.names if n == old or n.startswith(old + ".")}
            self.names = (self.names - moved) | {name + n[len(old) :] for n in moved}
        if {"\\NonExistent", "\\Noselect", "\\NoSelect"} & set(attributes):
            self.names.discard(name)
        else:
            self.names.add(name)

    def _uidnext(self, uidvalidity: int, uidnext: int, where: object) -> None:
        old = self.uidnext.get(uidvalidity, 0)
        assert uidnext >= old, (where, old)
        self.uidnext[uidvalidity] = uidnext

    def _look_at(self, number: int, line: str, where: object) -> None:
        uid = self.messages[number - 1][0]
        known = [u for u, _ in self.messages if u]
        assert known == sorted(set(known)), (where, known)
        if not uid:
            return
        if match := re.search(r"MODSEQ \((\d+)\)", line):
            key = (self.uidvalidity, uid)
            assert int(match[1]) >= self.modseqs.get(key, 0), (where, self.modseqs.get(key))
            self.modseqs[key] = int(match[1])
            self.highest[self.uidvalidity] = max(self.highest.get(self.uidvalidity, 0), int(match[1]))
        if match := re.search(r"X-Marker: (\w+)", line, re.IGNORECASE):
            self.ledger.learn(self.uidvalidity, uid, match[1], where)
            if body := re.search(r'BODY\[\] "([^"]*)"', line):
                assert f"body of {match[1]}" in body[1], where
                size = re.search(r"RFC822.SIZE (\d+)", line)
                assert size is not None, where
                assert int(size[1]) == len(body[1]) + body[1].count("\x00"), where

    # --- what is done -------------------------------------------------------------------------------

    def select(self, name: str, how: str = "SELECT") -> bool:
        """Open a mailbox, if it is there."""
        if not self.mailbox:
            self.messages = []
        line = self.command(f"{how} {name}" + (" (CONDSTORE)" if self.kind.condstore else ""))
        if " OK" not in line:
            self.mailbox, self.messages = "", []
            return False
        self.mailbox = name
        self.learn_unknown()
        return True

    def learn_unknown(self) -> None:
        """Ask for the UIDs of what has come."""
        rounds = 0
        while new := self.unknown():
            rounds += 1
            assert rounds < 50, (self.kind, self.mailbox, self.messages)
            if self.kind.by_uid:
                # Numbers may change on the way.
                low = self.messages[new[0] - 2][0] + 1 if new[0] > 1 else 1
                self.command(f"UID FETCH {low}:* (UID FLAGS)")
            else:
                line = self.command(f"FETCH {new[0]}:{new[-1]} (UID FLAGS)")
                if " NO " in line:
                    self.command("NOOP")

    def uids(self, *, touchable: bool = False) -> list[int]:
        """The UIDs that are known; *touchable*: of messages that may be removed."""
        found = [uid for uid, _ in self.messages if uid]
        if touchable:
            markers = self.ledger.markers
            found = [uid for uid in found if markers.get((self.uidvalidity, uid), "P").startswith("T")]
        return found

    def pick(self) -> tuple[str, str]:
        """A prefix and a set: by number or by UID."""
        rng = self.rng
        if self.kind.by_uid or rng.random() < 0.5:
            uids = self.uids()
            if uids and rng.random() < 0.8:
                chosen = sorted(rng.sample(uids, min(len(uids), rng.choice((1, 1, 2, 5, 20)))))
                return "UID ", ",".join(map(str, chosen))
            return "UID ", f"{rng.randint(1, 50)}:{rng.choice(('*', '100000'))}"
        low = rng.randint(1, len(self.messages))
        high = rng.randint(low, len(self.messages))
        return "", rng.choice((f"{low}", f"{low}:{high}", f"{low}:*"))

    def outgoing(self, name: str, count: int) -> tuple[bytes, list[str]]:
        """Messages for APPEND to a mailbox, and their markers."""
        parts, markers = [], []
        for _ in range(count):
            precious = name in KEPT and self.rng.random() < 0.3
            marker = self.ledger.marker(precious=precious)
            data = MESSAGE.format(marker=marker).encode()
            flags = " ".join(self.rng.sample(FLAGS, self.rng.randint(0, 2)))
            if "UTF8" in self.kind.enable and self.rng.random() < 0.5:
                parts.append(f" ({flags}) UTF8 (~{{{len(data)}+}}\r\n".encode() + data + b")")
            else:
                parts.append(f" ({flags}) {{{len(data)}+}}\r\n".encode() + data)
            markers.append(marker)
        return b"".join(parts), markers

    def append(self, text: str, name: str, count: int) -> None:
        """APPEND or REPLACE to *name*."""
        data, markers = self.outgoing(name, count)
        self.appended = tuple(markers)
        self.start(text, data)
        if " OK" in self.finish():
            with self.ledger.lock:
                self.ledger.safe.update(m for m in markers if m.startswith("P"))

    def act(self) -> None:
        """One thing at random."""
        rng = self.rng
        if self.kind.notify and rng.random() < 0.3:
            self.listen(rng.random() * 0.05)
        if not self.mailbox or rng.random() < 0.04:
            name = rng.choice(KEPT + KEPT + FLEETING)
            if self.mailbox and rng.random() < 0.3:
                self.command(rng.choice(("CLOSE", "UNSELECT")))
                self.mailbox, self.messages = "", []
            self.select(name, rng.choice(("SELECT", "SELECT", "SELECT", "EXAMINE")))
            return
        self.learn_unknown()
        if self.kind.pipelines and rng.random() < 0.3 and self.messages:
            texts = [self._harmless() for _ in range(rng.randint(2, 6))]
            for text in texts:
                self.start(text)
            while self.running:
                self.finish()
            return
        if rng.random() < 0.35 or not self.messages:
            self._on_mailboxes()
        else:
            self._on_messages()

    def _harmless(self) -> str:
        prefix, chosen = self.pick()
        return self.rng.choice(
            (
                "NOOP",
                f"{prefix}FETCH {chosen} (FLAGS)",
                f"{prefix}FETCH {chosen} (UID FLAGS RFC822.SIZE BODY.PEEK[])",
                f"{prefix}FETCH {chosen} (ENVELOPE BODYSTRUCTURE INTERNALDATE BODY.PEEK[HEADER.FIELDS (X-Marker)])",
                f"{prefix}SEARCH {self.rng.choice(('ALL', 'UNSEEN', 'SUBJECT T', 'KEYWORD kw1', 'BODY body'))}",
                f"{prefix}SORT (REVERSE ARRIVAL SUBJECT) UTF-8 ALL",
                f"{prefix}THREAD REFERENCES UTF-8 ALL",
                f"{prefix}STORE {chosen} {self.rng.choice('+-')}FLAGS ({self.rng.choice(FLAGS)})",
                f"STATUS {self.rng.choice(KEPT)} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)",
            )
        )

    def _on_messages(self) -> None:
        rng = self.rng
        prefix, chosen = self.pick()
        touchable = self.uids(touchable=True)
        match rng.randrange(14):
            case 0 | 1 | 2 | 3 | 4:
                self.command(self._harmless())
            case 5 if touchable:
                some = ",".join(map(str, sorted(rng.sample(touchable, min(len(touchable), 3)))))
                self.command(f"UID STORE {some} +FLAGS (\\Deleted)")
            case 6:
                if rng.random() < 0.5:
                    self.command("EXPUNGE")
                elif touchable:
                    self.command(f"UID EXPUNGE {min(touchable)}:{max(touchable)}")
            case 7:
                self.command(f"{prefix}COPY {chosen} {rng.choice(KEPT + FLEETING + FLEETING)}")
            case 8 if touchable:
                some = ",".join(map(str, sorted(rng.sample(touchable, min(len(touchable), 3)))))
                self.command(f"UID MOVE {some} {rng.choice(KEPT + FLEETING)}")
            case 9 if touchable and not self.kind.pipelines:
                name = rng.choice(KEPT + FLEETING)
                self.append(f"UID REPLACE {rng.choice(touchable)} {name}", name, 1)
            case 10:
                flags = " ".join(rng.sample(FLAGS, rng.randint(1, 3)))
                self.command(f"{prefix}STORE {chosen} {rng.choice(('+', '-'))}FLAGS ({flags})")
            case 11 if self.kind.condstore:
                self.command(f"{prefix}STORE {chosen} (UNCHANGEDSINCE {self.modseq}) +FLAGS (kw1)")
                self.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {max(1, self.modseq - 3)})")
            case 12:
                self.command(f"{prefix}STORE {chosen} +FLAGS.SILENT (kw2)")
                self.command("UID FETCH 1:* (FLAGS)")
            case _:
                self.command(f"{prefix}FETCH {chosen} (UID BODY.PEEK[HEADER.FIELDS (X-Marker)])")

    def _on_mailboxes(self) -> None:
        rng = self.rng
        fleeting = rng.choice(FLEETING)
        match rng.randrange(14):
            case 0 | 1 | 2:
                name = rng.choice(KEPT + FLEETING)
                self.append(f"APPEND {name}", name, rng.choice((1, 1, 1, 4)))
            case 3:
                if " OK" in self.command(f"CREATE {fleeting}") and self.kind.notify:
                    self.list()
            case 4 | 5 if rng.random() < 0.4:
                text = rng.choice((f"DELETE {fleeting}", f"RENAME {fleeting} {rng.choice(FLEETING)}"))
                line = self.command(text)
                along = text.startswith("RENAME") and self.mailbox.startswith(fleeting + ".")
                if " OK" in line and (self.mailbox == fleeting or along):
                    # Whoever takes away what he has open closes it.
                    self.mailbox, self.messages = "", []
                if " OK" in line and self.kind.notify:
                    self.list()
            case 6:
                status = " RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))"
                self.command(rng.choice(('LIST "" *', f'LIST "" *{status}', 'LSUB "" *')))
            case 7:
                self.command(f"STATUS {rng.choice(KEPT + FLEETING)} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")
            case 8:
                self.command(f"{rng.choice(('SUBSCRIBE', 'UNSUBSCRIBE'))} {fleeting}")
            case 9:
                self.command(f'SETMETADATA {rng.choice(KEPT)} (/private/comment "{rng.randrange(9)}")')
            case 10 | 11 if self.kind.idles:
                self.start("IDLE")
                if self.finish().startswith("+"):
                    self.listen(rng.random() * 0.2)
                    self._send(b"DONE\r\n")
                    self.finish()
            case 12 if rng.random() < 0.2:
                self.leave()
            case _:
                self.command(rng.choice(("NOOP", "CHECK", "NOOP")))

    def leave(self) -> None:
        """Log out, and come back; with QRESYNC to the mailbox that was open."""
        self.command("NOOP")
        self.learn_unknown()
        kept = (self.mailbox, self.uidvalidity, self.modseq, list(self.messages))
        self.start("LOGOUT")
        with contextlib.suppress(Lost):
            self.finish()
        self.connect()
        mailbox, uidvalidity, modseq, messages = kept
        if mailbox and self.kind.qresync:
            self.resynchronise(mailbox, uidvalidity, modseq, messages)

    def resynchronise(
        self, mailbox: str, uidvalidity: int, modseq: int, before: list[tuple[int, frozenset[str]]]
    ) -> None:
        """Open a mailbox again, and believe what QRESYNC says of the time between."""
        self.vanished.clear()
        self.changed.clear()
        self.messages = []
        line = self.command(f"SELECT {mailbox} (QRESYNC ({uidvalidity} {modseq}))")
        if " OK" not in line:
            self.messages = []
            return
        self.mailbox = mailbox
        if self.uidvalidity == uidvalidity:
            known = {uid: flags for uid, flags in before if uid not in self.vanished}
            known.update(self.changed)
            assert len(known) == len(self.messages), (self.kind, mailbox, len(known), len(self.messages))
            self.messages = sorted(known.items())
        self.learn_unknown()


def in_order(text: str) -> list[int]:
    """A set of UIDs in its own order, as COPYUID has it."""
    found = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        found += range(int(low), int(high or low) + 1)
    return found


def disturb(rng: random.Random, spool: Spool, ledger: Ledger) -> None:
    """An MDA, a mail program and a person with a shell, on the spool itself."""
    name = rng.choice(KEPT)
    try:
        files = spool.files(name)
        match rng.randrange(12):
            case 0 | 1 | 2 | 3:
                precious = rng.random() < 0.3
                marker = ledger.marker(precious=precious)
                spool.put(name, MESSAGE.format(marker=marker).replace("\r\n", "\n").encode(), None, when=None)
                if precious:
                    with ledger.lock:
                        ledger.safe.add(marker)
            case 4 | 5 | 6 | 7 | 8 if files:
                base = rng.choice(files).split(":")[0]
                spool.reflag(name, base, "".join(sorted(rng.sample("FRS", rng.randint(0, 3)))))
            case 9 if files:
                base = rng.choice(files).split(":")[0]
                file = spool.find(name, base)
                if b"X-Marker: T" in file.read_bytes():
                    file.unlink()
            case 10 if rng.random() < 0.3:
                remove_tree(spool, rng.choice(FLEETING))
            case 11:
                spool.folder(rng.choice(FLEETING))
    except OSError:
        pass  # Race: somebody was faster.


def remove_tree(spool: Spool, name: str) -> None:
    """What ``rm -r`` does, as a rename first: half a folder is another test's."""
    path = spool.path(name)
    aside = path.with_name(f"..gone{time.time_ns()}")
    path.rename(aside)
    for sub in sorted(aside.rglob("*"), reverse=True):
        sub.rmdir() if sub.is_dir() else sub.unlink()
    aside.rmdir()


def markers_on_disk(spool: Spool, name: str) -> list[str]:
    """The markers of all files of a folder, at rest."""
    found = []
    for file in spool.files(name):
        match = re.search(rb"X-Marker: (\w+)", spool.find(name, file.split(":")[0]).read_bytes())
        assert match
        found.append(match[1].decode())
    return sorted(found)
