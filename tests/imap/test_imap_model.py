"""Clients that believe every response, beside others and outside programs, end up with what is there.

Each model client keeps the mailbox as a list of (UID, flags), changed by untagged responses alone.  After any
number of random changes a NOOP must leave it equal to what a fresh session sees; a client that was away and
comes back with QRESYNC as well, in any of its ways, also after the server was started again, when its journal was
folded into the checkpoint, when its history of expunges does not reach back, or its index was lost.
"""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from model_client import Believer, numbers
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.branch import Branch, SpaceKind
from maildir_imapd.store.index import index, state
from maildir_imapd.store.namespaces import Namespaces, OneAccount
from maildir_imapd.store.records.acl import ALL

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "kw1", "kw2")
LETTERS = "FRS"


class Model(Believer):
    """One client: what it was told.  *alone*: nobody changes anything while a command of it is under way."""

    alone = True

    def __init__(self, wires: MemoryWires, *, qresync: bool, seed: int = 0) -> None:
        super().__init__(follows_modseq=qresync)
        self.rng = random.Random(seed)
        self.wires = wires
        self.qresync = qresync
        self.client: MemoryClient | None = None
        self.tag = 0

    def connect(self) -> None:
        """Log in and select; with QRESYNC only the difference is asked for."""
        self.client = self.wires.connect(login=True)
        if not self.qresync:
            self.messages = []
            self.command("SELECT INBOX")
            self.refresh()
            return
        self.command("ENABLE QRESYNC")
        if self.uidvalidity:
            self.resynchronise()
        else:
            self.command("SELECT INBOX (CONDSTORE)")
            self.refresh()

    def resynchronise(self) -> None:
        """Ask for the difference to what was known, in one of the ways of RFC 7162."""
        before, uidvalidity, modseq = dict(self.messages), self.uidvalidity, self.modseq
        uids = sorted(before)
        self.messages = []
        self.vanished.clear()
        self.changed.clear()
        known = ",".join(map(str, uids)) or "1"
        # A sample of numbers and UIDs, denser towards the end (3.2.5.2).
        places = sorted({len(uids) - 1 - (2**k - 1) for k in range(6) if 2**k <= len(uids)})
        match = f"({','.join(str(k + 1) for k in places)} {','.join(str(uids[k]) for k in places)})" if places else ""
        ways = ["", f" {known}", f" 1:4000000 {match}", f" {known} {match}", f" {match}"]
        if self.alone:
            # SELECT answers of one moment; between it and a FETCH others may expunge, and this one would lose count.
            ways.append("FETCH")
        way = self.rng.choice(ways)
        if way == "FETCH":
            self.command("SELECT INBOX (CONDSTORE)")
            if self.uidvalidity == uidvalidity:
                self.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
        else:
            self.command(f"SELECT INBOX (QRESYNC ({uidvalidity} {modseq}{way.rstrip()}))")
        if self.uidvalidity != uidvalidity:
            assert not self.vanished
            assert not self.changed
            self.refresh()
            return
        kept = {uid: flags for uid, flags in before.items() if uid not in self.vanished}
        kept.update(self.changed)
        # Of messages outside the known UIDs nothing is said but that they are there: they are the last ones.
        unknown = len(self.messages) - len(kept)
        assert unknown == 0 or (unknown > 0 and "," in way + known), (way, len(self.messages), kept)
        self.messages = [*sorted(kept.items()), *[(0, frozenset())] * unknown]

    def store_unchanged(self) -> None:
        """A conditional STORE fails for just the messages that have changed since (3.1.3)."""
        number = self.rng.randint(1, len(self.messages))
        before = self.modseqs()
        since = self.rng.choice([*before.values(), self.modseq])
        silent = self.rng.choice(("", ".SILENT"))
        knew, self.changed = list(self.messages), {}
        if silent:
            for at in range(number, len(knew) + 1):
                self.did(at, "+", ["kw1"])
        lines = self.command(f"STORE {number}:* (UNCHANGEDSINCE {since}) +FLAGS{silent} (kw1)")
        told = re.search(rb"\[MODIFIED (\S+)\]", lines[-1])
        refused = numbers(told[1].decode()) if told else set()
        for at in refused if silent else ():
            # That was not to be.
            if self.messages[at - 1][0] not in self.changed:
                self.messages[at - 1] = knew[at - 1]
        # Whatever else has happened is not known to this client: of what it had looked at it can be sure.
        asked = {at: self.messages[at - 1][0] for at in range(number, len(self.messages) + 1)}
        if not self.alone:
            # Others may have changed some since, so that more are refused, and expunged some.
            self.settle()
            there = {uid for uid, _ in self.messages}
            asked = {at: uid for at, uid in asked.items() if uid in there and at not in refused}
        for at, uid in asked.items():
            if uid in before:
                assert (at in refused) == (before[uid] > since), (lines, before)

    def modseqs(self) -> dict[int, int]:
        """The mod-sequences of all messages by UID."""
        lines = self.command("UID FETCH 1:* (MODSEQ)")
        found = [re.search(rb"UID (\d+) MODSEQ \((\d+)\)", line) for line in lines if b" FETCH " in line]
        return {int(match[1]): int(match[2]) for match in found if match}

    def refresh(self) -> None:
        self.command("FETCH 1:* (UID FLAGS)") if self.messages else None

    def command(self, text: str) -> list[bytes]:
        assert self.client is not None
        self.tag += 1
        lines = self.client.command(f"t{self.tag} {text}".encode())
        for line in lines:
            self.hear(line.decode())
        return lines

    def settle(self) -> None:
        """NOOP; new messages are asked about, also those that come while we ask."""
        self.command("NOOP")
        while new := self.unknown():
            self.command(f"FETCH {new[0]}:{new[-1]} (UID FLAGS)")

    def leave(self) -> None:
        assert self.client is not None
        self.settle()
        self.client.command(b"bye LOGOUT")
        self.client = None


def restart(models: list[Model], spool: Spool, *, forget: bool) -> None:
    """The server ends and starts again; with *forget* somebody has removed its index meanwhile."""
    for model in models:
        if model.client is not None:
            model.leave()
    if forget:
        for file in spool.path("INBOX").glob("maildir-imapd.index*"):
            file.unlink()
        (spool.path("INBOX") / "maildir-imapd.journal").unlink()
    wires = MemoryWires(spool.root)
    for model in models:
        model.wires = ReaderWires(wires) if isinstance(model.wires, ReaderWires) else wires


class ReaderWires(MemoryWires):
    """As those of the owner of a mailbox, of another user, who has all rights to it and knows it by another name."""

    def __init__(self, wires: MemoryWires) -> None:
        self.account, self.policy, self.clients = wires.account, wires.policy, wires.clients
        self._own = Account(os.path.join(os.path.dirname(wires.account.root), b"reader"), delimiter="/", fsync="never")

    def connect(self, *, login: bool) -> MemoryClient:
        shared = Branch(self.account, SpaceKind.OTHERS, "shared/ann/", "/", "ann", own=False, usual=ALL, inbox="prefix")
        spaces = [OneAccount(SpaceKind.OTHERS, "shared/ann/", lambda: shared)]
        client = Reader(Namespaces(self._own, spaces, user="bob"), self.policy, "bob")
        client.read_line()
        assert client.command(b"L LOGIN bob secret")[-1].startswith(b"L OK")
        self.clients.append(client)
        return client


class Reader(MemoryClient):
    """Says INBOX and means another user's."""

    def command(self, line: bytes) -> list[bytes]:
        return super().command(line.replace(b" INBOX", b" shared/ann"))


def act(rng: random.Random, models: list[Model], spool: Spool) -> None:
    """One random change, by a client or behind all backs."""
    present = [m for m in models if m.client is not None]
    files = spool.files("INBOX")
    bases = [name.split(":")[0] for name in files]
    match rng.randrange(15):
        case 0:
            spool.simple("INBOX", rng.randint(1, 3), None)
        case 1 if bases:
            spool.reflag("INBOX", rng.choice(bases), "".join(sorted(rng.sample(LETTERS, rng.randint(0, 3)))))
        case 2 if len(bases) > 3:
            spool.remove("INBOX", rng.choice(bases))
        case 3 | 4 | 5 | 6 if present:
            model = rng.choice(present)
            if model.messages:
                n = rng.randint(1, len(model.messages))
                sign = rng.choice("+-") if rng.random() < 0.8 else ""
                flags = rng.sample(FLAGS, rng.randint(1, 2))
                if rng.random() < 0.5:
                    # What it did it knows; of what others did to the same message it is told.
                    model.did(n, sign, flags)
                    model.command(f"STORE {n} {sign}FLAGS.SILENT ({' '.join(flags)})")
                else:
                    model.command(f"STORE {n} {sign}FLAGS ({' '.join(flags)})")
        case 7 if present:
            rng.choice(present).command("EXPUNGE")
        case 8 if present:
            model = rng.choice(present)
            if model.messages:
                n = rng.randint(1, len(model.messages))
                model.command(f"FETCH {n}:* FLAGS")
        case 9 if present:
            rng.choice(present).settle()
        case 10 if present:
            model = rng.choice(present)
            if model.messages:
                model.command(f"COPY {rng.randint(1, len(model.messages))} INBOX")
        case 13 if rng.random() < 0.2 and all(model.alone for model in models):
            # Only while no server runs may its index go.
            restart(models, spool, forget=rng.random() < 0.15)
        case 14 if present:
            model = rng.choice(present)
            if model.qresync:
                # Whoever stores by conditions has looked.
                model.settle()
                if model.messages:
                    model.store_unchanged()
        case 11 if present:
            rng.choice(present).command("SEARCH ALL")
        case 12:
            model = rng.choice(models)
            if model.client is None:
                model.connect()
            else:
                model.leave()


def fresh(wires: MemoryWires) -> list[tuple[int, frozenset[str]]]:
    """What somebody sees who knows nothing."""
    model = Model(wires, qresync=False)
    model.connect()
    assert model.client is not None
    model.client.command(b"bye LOGOUT")
    return model.messages


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("others", [False, True], ids=["own", "shared"])
def test_clients_know_what_is_there(seed: int, others: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With *others* the second half of them are of a user with whom the mailbox is shared."""
    # The journal is folded into the checkpoint every few changes, and the history of expunges is soon lost.
    monkeypatch.setattr(index, "ROTATE_OCTETS", 2048 if seed % 2 else index.ROTATE_OCTETS)
    monkeypatch.setattr(state, "HISTORY_LIMIT", 1 if seed % 3 == 1 else state.HISTORY_LIMIT)
    rng = random.Random(seed)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 5)
    wires = MemoryWires(spool.root)
    ways = [wires, wires, *(ReaderWires(wires) if others else wires for _ in range(2))]
    models = [Model(way, qresync=k % 2 == 1, seed=seed + k) for k, way in enumerate(ways)]
    for model in models:
        model.connect()
    for step in range(250):
        act(rng, models, spool)
        if step % 25 == 24:
            truth = fresh(models[0].wires)
            for number, model in enumerate(models):
                if model.client is None:
                    model.connect()
                model.settle()
                assert model.messages == truth, f"seed {seed} step {step} client {number}"
