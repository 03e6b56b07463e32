"""Clients that believe every response, beside others and outside programs, end up with what is there.

Each model client keeps the mailbox as a list of (UID, flags), changed by untagged responses alone.  After any
number of random changes a NOOP must leave it equal to what a fresh session sees; a client that was away and
comes back with QRESYNC as well.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from believer import Believer
from memory import MemoryClient, MemoryWires
from spool import Spool

FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "kw1", "kw2")
LETTERS = "FRS"


class Model(Believer):
    """One client: what it was told."""

    def __init__(self, wires: MemoryWires, *, qresync: bool) -> None:
        super().__init__(follows_modseq=qresync)
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
        known = f" (QRESYNC ({self.uidvalidity} {self.modseq}))" if self.uidvalidity else " (CONDSTORE)"
        before = {uid: flags for uid, flags in self.messages if uid}
        self.messages = []
        self.vanished.clear()
        self.changed.clear()
        self.command("SELECT INBOX" + known)
        if known == " (CONDSTORE)":
            self.refresh()
        else:
            kept = {uid: flags for uid, flags in before.items() if uid not in self.vanished}
            kept.update(self.changed)
            self.messages = sorted(kept.items())

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


def act(rng: random.Random, models: list[Model], spool: Spool) -> None:
    """One random change, by a client or behind all backs."""
    present = [m for m in models if m.client is not None]
    files = spool.files("INBOX")
    bases = [name.split(":")[0] for name in files]
    match rng.randrange(13):
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
                flags = " ".join(rng.sample(FLAGS, rng.randint(1, 2)))
                silent = ".SILENT" if rng.random() < 0.3 else ""
                if silent and not model.qresync:
                    # A client that asks for silence knows what it did; this one asks again.
                    model.command(f"STORE {n} {sign}FLAGS.SILENT ({flags})")
                    model.command(f"FETCH {n} (FLAGS)")
                elif not silent:
                    model.command(f"STORE {n} {sign}FLAGS ({flags})")
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


@pytest.mark.parametrize("seed", range(12))
def test_clients_know_what_is_there(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 5)
    wires = MemoryWires(spool.root)
    models = [Model(wires, qresync=k % 2 == 1) for k in range(4)]
    for model in models:
        model.connect()
    for step in range(250):
        act(rng, models, spool)
        if step % 25 == 24:
            truth = fresh(wires)
            for number, model in enumerate(models):
                if model.client is None:
                    model.connect()
                model.settle()
                assert model.messages == truth, f"seed {seed} step {step} client {number}"
