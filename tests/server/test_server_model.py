"""Believing clients over sockets, two workers, and an outside program, all at once: they end up with what is there."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
from pathlib import Path

import pytest
from running import Running
from spool import Spool
from test_scripts import SocketClient, SocketWires

sys.path.insert(0, str(Path(__file__).parent.parent / "imap"))

from test_imap_model import LETTERS, Model, act, fresh

pytestmark = pytest.mark.slow

CLIENTS = 4
STEPS = 120


class Talker:
    """A socket client that answers as the one in memory does."""

    def __init__(self, client: SocketClient) -> None:
        self.client = client

    def command(self, line: bytes) -> list[bytes]:
        tag = line.partition(b" ")[0] + b" "
        self.client.send(line + b"\r\n")
        lines = []
        while (answer := self.client.read_line()) is not None:
            lines.append(answer)
            if answer.startswith(tag):
                break
        return lines


class Wires:
    def __init__(self, wires: SocketWires) -> None:
        self.wires = wires

    def connect(self, *, login: bool) -> Talker:
        return Talker(self.wires.connect(login=login))


def disturb(rng: random.Random, spool: Spool) -> None:
    """An MDA and a mail program on the spool itself."""
    files = spool.files("INBOX")
    # Race: a session renames or removes the file between the listing and our rename; so does mutt's user.
    with contextlib.suppress(FileNotFoundError, IndexError):
        base = rng.choice(files).split(":")[0]
        match rng.randrange(5):
            case 0:
                spool.simple("INBOX", 1, None)
            case 1 if len(files) > 20:
                spool.remove("INBOX", base)
            case _:
                spool.reflag("INBOX", base, "".join(sorted(rng.sample(LETTERS, rng.randint(0, 3)))))


@pytest.mark.parametrize("seed", range(2))
def test_clients_know_what_is_there(seed: int, server: Running) -> None:
    user, spool = server.user()
    spool.simple("INBOX", 20)
    wires = SocketWires(server, user)
    models = [Model(Wires(wires), qresync=k % 2 == 1) for k in range(CLIENTS)]  # type: ignore[arg-type]  # same shape
    for model in models:
        model.alone = False
    failures: list[BaseException] = []

    def client(model: Model, rng: random.Random) -> None:
        try:
            model.connect()
            for _ in range(STEPS):
                with contextlib.suppress(FileNotFoundError):
                    act(rng, [model], spool)
        except BaseException as error:
            failures.append(error)

    def outside(rng: random.Random) -> None:
        for _ in range(STEPS):
            disturb(rng, spool)

    threads = [
        threading.Thread(target=client, args=(model, random.Random(seed * 100 + k))) for k, model in enumerate(models)
    ]
    for thread in threads:
        thread.start()
    disturber = threading.Thread(target=outside, args=(random.Random(seed),))
    disturber.start()
    for thread in [*threads, disturber]:
        thread.join()
    try:
        assert not failures, failures[0]
        for model in models:
            if model.client is None:
                model.connect()
            assert model.client is not None
            # A last look at the folder from the ground up, so that nothing is on its way any more.
            model.command("CHECK")
        for model in models:
            model.settle()
        truth = fresh(Wires(wires))  # type: ignore[arg-type]  # same shape
        for number, model in enumerate(models):
            model.settle()
            assert model.messages == truth, f"client {number}"
        assert len({uid for uid, _ in truth}) == len(truth)
    finally:
        wires.close()
