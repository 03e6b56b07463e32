"""Clients that have enabled UIDONLY and believe every response know what is there (RFC 9586).

They stand beside one that counts and programs that work behind all backs; with QRESYNC, NOTIFY and searches that go on
(RFC 7162, 5465, 5267) or without.  No line that they are sent has a sequence number in it.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import grammar
import pytest
from memory import MemoryWires
from model_client import numbers
from spool import Spool

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "kw1")
NUMBERED = re.compile(r"\* \d+ (FETCH|EXPUNGE)\b|.*\[UNSEEN |\* ESEARCH \(TAG \"[^\"]*\"\) (?!UID)(?!$)")
WISH = "(SELECTED (MessageNew (FLAGS) MessageExpunge FlagChange))"


class UidClient:
    """Keeps flags by UID, changed by untagged responses alone; *extra* is what it enables beside UIDONLY."""

    def __init__(self, wires: MemoryWires, rng: random.Random, extra: str, *, notify: bool, context: bool) -> None:
        self.wires, self.rng, self.extra, self.notify, self.context = wires, rng, extra, notify, context
        self.messages: dict[int, frozenset[str]] = {}
        self.found: set[int] = set()
        self.count = self.upto = self.uidvalidity = self.modseq = self.tag = 0
        self.connect()

    def connect(self) -> None:
        """Log in and select, with QRESYNC for the difference alone."""
        self.client = self.wires.connect(login=True)
        self.command(f"ENABLE UIDONLY {self.extra}")
        if self.extra and self.uidvalidity:
            self.command(f"SELECT INBOX (QRESYNC ({self.uidvalidity} {self.modseq}))")
        else:
            self.messages, self.upto = {}, 0
            self.command("SELECT INBOX")
        if self.notify:
            self.command(f"NOTIFY SET {WISH}")
        if self.context:
            self.found = set()
            (line,) = [
                line
                for line in self.command("UID SEARCH RETURN (UPDATE ALL) FLAGGED", tag="ctx")
                if line.startswith("* ESEARCH") and "ADDTO" not in line
            ]
            if listed := re.search(r"ALL (\S+)", line):
                self.found |= numbers(listed[1])
        self.settle()

    def command(self, text: str, *, tag: str = "", literal: bytes = b"") -> list[str]:
        """Send a command, believe all lines, and return them."""
        self.tag += 1
        self.client.send(f"{tag or f't{self.tag}'} {text}".encode() + b"\r\n" + literal)
        return self.listen()

    def listen(self) -> list[str]:
        """Believe what has come."""
        data = self.client.unread()
        self.client._out.clear()
        lines = data.decode().split("\r\n")[:-1]
        for line in lines:
            self.hear(line)
        return lines

    def hear(self, line: str) -> None:
        assert not NUMBERED.match(line), line
        if line.startswith(("* ", "t")) and not line.endswith("}"):
            grammar.parse(line.encode() + b"\r\n")
        if match := re.fullmatch(r"\* (\d+) EXISTS", line):
            self.count = int(match[1])
        elif match := re.fullmatch(r"\* VANISHED( \(EARLIER\))? (\S+)", line):
            for uid in numbers(match[2]) if len(match[2]) < 2000 else ():
                if match[1]:
                    self.messages.pop(uid, None)
                else:
                    self.messages.pop(uid, None)
                    self.count -= 1
        elif match := re.match(r"\* (\d+) UIDFETCH \((.*)", line):
            if flags := re.search(r"FLAGS \(([^)]*)\)", match[2]):
                self.messages[int(match[1])] = frozenset(flags[1].split()) - {"\\Recent"}
            if modseq := re.search(r"MODSEQ \((\d+)\)", match[2]):
                self.modseq = max(self.modseq, int(modseq[1]))
        elif match := re.match(r'\* ESEARCH \(TAG "ctx"\) UID (.*)', line):
            for verb, uids in re.findall(r"(ADDTO|REMOVEFROM) \(0 (\S+)\)", match[1]):
                if verb == "ADDTO":
                    self.found |= numbers(uids)
                else:
                    self.found -= numbers(uids)
        if match := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
            self.modseq = int(match[1])
        elif match := re.search(r"\[UIDVALIDITY (\d+)\]", line):
            self.uidvalidity = int(match[1])

    def settle(self) -> None:
        """NOOP, and ask about what is new: all that is above the last UID that was asked about."""
        self.command("NOOP")
        for _ in range(20):
            if len(self.messages) == self.count:
                self.upto = max(self.messages, default=self.upto)
                return
            self.command(f"UID FETCH {self.upto + 1}:* (FLAGS)")
            self.command("NOOP")
        raise AssertionError((self.messages, self.count))

    def some(self) -> str:
        """A few UIDs, some perhaps gone."""
        return ",".join(
            map(str, self.rng.sample(sorted(self.messages), self.rng.randint(1, min(3, len(self.messages)))))
        )

    def act(self) -> None:
        """Do one thing, by UID."""
        rng = self.rng
        if not self.messages:
            return
        flag, sign = rng.choice(FLAGS), rng.choice("+-")
        match rng.randrange(10):
            case 0 | 1:
                self.command(f"UID STORE {self.some()} {sign}FLAGS ({flag})")
            case 2:
                self.command(f"UID MOVE {self.some()} Work")
            case 3:
                self.command(f"UID COPY {self.some()} INBOX")
            case 4:
                text = b"Subject: x\r\n\r\nx\r\n"
                self.command(
                    f"UID REPLACE {rng.choice(sorted(self.messages))} INBOX {{{len(text)}+}}", literal=text + b"\r\n"
                )
            case 5:
                self.command(rng.choice(("EXPUNGE", f"UID EXPUNGE {self.some()}")))
            case 6:
                self.command(f"UID SEARCH RETURN (SAVE) {rng.choice(('SEEN', 'KEYWORD kw1', 'UNFLAGGED'))}")
                self.command(f"UID STORE $ {sign}FLAGS ({flag})")
            case 7:
                self.command(f"UID FETCH {self.some()} (FLAGS BODY[])")
            case 8:
                word = rng.choice(
                    ("FETCH 1 FLAGS", "SEARCH 1", "UID SEARCH 1", "COPY 1 INBOX", "UID SORT (DATE) UTF-8 1:*")
                )
                assert self.command(word)[-1].split(" ", 1)[1].startswith("BAD [UIDREQUIRED]")
            case _:
                self.settle()

    def leave(self) -> None:
        """Log out, knowing all."""
        self.settle()
        self.command("LOGOUT")
        self.wires.clients.remove(self.client)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(8))
def test_clients_know_what_is_there_by_uid(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 5)
    spool.simple("Work", 1)
    wires = MemoryWires(spool.root)
    counting = wires.connect(login=True)
    counting.command(b"c SELECT INBOX")
    clients = [
        UidClient(wires, rng, extra, notify=notify, context=context)
        for extra, notify, context in (
            ("", False, False),
            ("QRESYNC", False, True),
            ("QRESYNC", True, False),
            ("", True, True),
        )
    ]
    for step in range(120):
        match rng.randrange(8):
            case 0:
                spool.simple("INBOX", rng.randint(1, 2), None)
                wires.changed()
            case 1 if len(files := spool.files("INBOX")) > 3:
                spool.remove("INBOX", rng.choice(files).split(":")[0])
                wires.changed()
            case 2:
                counting.command(b"c STORE * +FLAGS.SILENT (%b)" % rng.choice(FLAGS).encode())
                counting.command(rng.choice((b"c EXPUNGE", b"c NOOP")))
            case 3:
                client = rng.choice(clients)
                client.leave()
                client.connect()
            case _:
                rng.choice(clients).act()
        for client in clients:
            client.listen()
        if step % 20 == 19:
            fresh = UidClient(wires, rng, "", notify=False, context=False)
            fresh.leave()
            flagged = {uid for uid, flags in fresh.messages.items() if "\\Flagged" in flags}
            for number, client in enumerate(clients):
                client.settle()
                assert client.messages == fresh.messages, (seed, step, number)
                assert not client.context or client.found == flagged, (seed, step, number)
