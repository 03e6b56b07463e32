"""A client that applies ADDTO and REMOVEFROM, and nothing else, always has what a fresh search finds (RFC 5267 4.3).

Beside other clients and outside programs, as in test_imap_model.py.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from spool import WHEN, Spool

from maildir_imapd.imap.news import contexts

KEYS = (
    "ALL",
    "UNSEEN",
    "FLAGGED UNDELETED",
    "OR FLAGGED KEYWORD kw1",
    "NOT (SEEN FLAGGED)",
    "UID *",
    "UID 4:* UNFLAGGED",
    "SUBJECT 1",
    "BODY 2 UNSEEN",
    "SMALLER 100000 KEYWORD kw2",
)
ORDERS = ("REVERSE SUBJECT", "SUBJECT", "ARRIVAL", "REVERSE DATE", "SIZE REVERSE FROM")
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "kw1", "kw2")


def numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        found += range(int(low), int(high or low) + 1)
    return found


class Follower:
    """One client with some contexts; it knows the numbers of messages and the results, from what it is told."""

    def __init__(self, wires: MemoryWires, *, qresync: bool) -> None:
        self.client: MemoryClient = wires.connect(login=True)
        self.uids: list[int] = []
        self.results: dict[str, list[int]] = {}
        self.asked: dict[str, tuple[str, bool]] = {}
        self.tag = 0
        self.qresync = qresync
        if qresync:
            self.command("ENABLE QRESYNC")
        self.command("SELECT INBOX")
        self.ask()

    def command(self, text: str, tag: str = "") -> list[str]:
        self.tag += 1
        lines = [line.decode() for line in self.client.command(f"{tag or f't{self.tag}'} {text}".encode())]
        for line in lines:
            self.hear(line)
        assert lines[-1].split()[1] in ("OK", "NO"), lines[-1]
        if self.qresync and not text.startswith("FETCH"):
            # VANISHED names UIDs: to apply it to numbers, they have to be known.
            self.ask()
        return lines

    def ask(self) -> None:
        """Learn the UIDs of what has come, so that numbers mean something."""
        while 0 in self.uids:
            low = self.uids.index(0) + 1
            self.command(f"FETCH {low}:{len(self.uids)} (UID)")

    def hear(self, line: str) -> None:
        if match := re.fullmatch(r"\* (\d+) EXISTS", line):
            self.uids += [0] * (int(match[1]) - len(self.uids))
        elif match := re.fullmatch(r"\* (\d+) EXPUNGE", line):
            at = int(match[1])
            del self.uids[at - 1]
            for tag, (_, uid) in self.asked.items():
                if not uid and tag in self.results:
                    assert at not in self.results[tag], f"{tag} holds a message that is gone"
                    self.results[tag] = [n - (n > at) for n in self.results[tag]]
        elif match := re.fullmatch(r"\* VANISHED (\S+)", line):
            self.vanish(numbers(match[1]))
        elif match := re.match(r"\* (\d+) FETCH \(UID (\d+)", line):
            self.uids[int(match[1]) - 1] = int(match[2])
        elif match := re.match(r'\* ESEARCH \(TAG "(\w+)"\)( UID)?(.*)', line):
            if match[1] in self.results:
                self.update(match[1], bool(match[2]), match[3])
            elif match[1] in self.asked:
                self.results[match[1]] = self.answer([line], match[1])

    def vanish(self, gone: list[int]) -> None:
        for uid in gone:
            if uid in self.uids:
                at = self.uids.index(uid) + 1
            else:
                above = [k for k, known in enumerate(self.uids) if known > uid]
                at = above[0] if above else len(self.uids)
            self.hear(f"* {at} EXPUNGE")

    def update(self, tag: str, uid: bool, items: str) -> None:
        assert uid == self.asked[tag][1]
        result = self.results[tag]
        for kind, payload in re.findall(r"(ADDTO|REMOVEFROM) \(([^)]*)\)", items):
            words = payload.split(" ")
            for position, text in zip(map(int, words[::2]), words[1::2], strict=True):
                named = numbers(text)
                if not uid:
                    assert all(1 <= n <= len(self.uids) for n in named), "a number that the client does not have"
                if kind == "ADDTO":
                    assert not set(named) & set(result)
                    if position:
                        assert position <= len(result) + 1
                        result[position - 1 : position - 1] = named
                    else:
                        result[:] = sorted({*result, *named})
                elif position:
                    assert result[position - 1 : position - 1 + len(named)] == named
                    del result[position - 1 : position - 1 + len(named)]
                else:
                    assert set(named) <= set(result)
                    result[:] = [n for n in result if n not in named]

    def follow(self, rng: random.Random) -> None:
        tag = f"c{self.tag}"
        uid = rng.random() < 0.5
        key = rng.choice(KEYS)
        text = f"SORT RETURN (ALL UPDATE) ({rng.choice(ORDERS)}) UTF-8 {key}" if rng.random() < 0.5 else ""
        text = ("UID " if uid else "") + (text or f"SEARCH RETURN (UPDATE ALL) {key}")
        self.asked[tag] = text, uid
        if any("NOUPDATE" in line for line in self.command(text, tag)):
            del self.asked[tag], self.results[tag]

    @staticmethod
    def answer(lines: list[str], tag: str) -> list[int]:
        line = next(line for line in lines if line.startswith(f'* ESEARCH (TAG "{tag}")'))
        match = re.search(r" ALL (\S+)", line)
        return numbers(match[1]) if match else []

    def check(self, where: str) -> None:
        self.command("NOOP")
        self.ask()
        self.command("NOOP")
        for tag, (text, _) in self.asked.items():
            lines = self.command(text.replace("UPDATE", "").replace("( ", "(").replace(" )", ")"), "fresh")
            assert self.results[tag] == self.answer(lines, "fresh"), f"{where} {tag} {text}"


def act(rng: random.Random, followers: list[Follower], spool: Spool) -> None:
    bases = [name.split(":")[0] for name in spool.files("INBOX")]
    someone = rng.choice(followers)
    count = len(someone.uids)
    match rng.randrange(12):
        case 0:
            spool.simple("INBOX", rng.randint(1, 3), None)
        case 1 if bases:
            spool.reflag("INBOX", rng.choice(bases), "".join(sorted(rng.sample("FS", rng.randint(0, 2)))))
        case 2 if len(bases) > 3:
            spool.remove("INBOX", rng.choice(bases))
        case 3 | 4 | 5 | 6 if count:
            flags = " ".join(rng.sample(FLAGS, rng.randint(1, 2)))
            low = rng.randint(1, count)
            silent = rng.choice(("", ".SILENT"))
            someone.command(f"STORE {low}:{min(count, low + 2)} {rng.choice('+-')}FLAGS{silent} ({flags})")
        case 7:
            someone.command("EXPUNGE")
        case 8 if count:
            someone.command(f"FETCH {rng.randint(1, count)}:* (UID)")
        case 9 if count:
            someone.command(f"COPY {rng.randint(1, count)} INBOX")
        case 10:
            someone.follow(rng)
        case 11 if someone.asked:
            tag = rng.choice(list(someone.asked))
            del someone.asked[tag], someone.results[tag]
            someone.command(f'CANCELUPDATE "{tag}"')


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_the_updates_make_the_result(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # More than so many at once are sorted anew.
    monkeypatch.setattr(contexts, "FEW", seed % 3)
    rng = random.Random(seed)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 6)
    wires = MemoryWires(spool.root)
    followers = [Follower(wires, qresync=k == 2) for k in range(3)]
    for follower in followers:
        follower.command("NOOP")
        follower.ask()
        for _ in range(3):
            follower.follow(rng)
    for step in range(150):
        act(rng, followers, spool)
        if step % 10 == 9:
            for number, follower in enumerate(followers):
                follower.check(f"seed {seed} step {step} client {number}")


def test_time_changes_results_too(spool: Spool) -> None:
    """RFC 5032 2: OLDER and YOUNGER are asked again now and then."""
    spool.simple("INBOX", 2)
    client = MemoryWires(spool.root).connect(login=True)
    now = [WHEN + 1000.0]
    client.session.clock = lambda: now[0]
    client.command(b"s SELECT INBOX")
    assert client.command(b"y UID SEARCH RETURN (UPDATE COUNT) YOUNGER 2000")[0] == b'* ESEARCH (TAG "y") UID COUNT 2'
    now[0] += 10000
    assert client.command(b"n NOOP")[:-1] == [b'* ESEARCH (TAG "y") UID REMOVEFROM (0 1:2)']
    assert client.command(b"n NOOP")[:-1] == []


def test_a_keyword_that_gets_its_name_late_is_seen(spool: Spool) -> None:
    """A letter may be in file names before another server's file says what it means."""
    (spool.root / "dovecot-keywords").write_text("0 one\n")
    spool.put("INBOX", b"a: b\n\n", "b")
    client = MemoryWires(spool.root).connect(login=True)
    client.command(b"s SELECT INBOX")
    assert client.command(b"k UID SEARCH RETURN (UPDATE ALL) KEYWORD two")[0] == b'* ESEARCH (TAG "k") UID'
    (spool.root / "dovecot-keywords").write_text("0 one\n1 two\n")
    spool.put("INBOX", b"a: b\n\n", "b")
    assert b'* ESEARCH (TAG "k") UID ADDTO (0 1:2)' in client.command(b"n NOOP")
