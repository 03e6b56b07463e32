"""UIDBATCHES (RFC 10022): exact batches that meet, against a list of the UIDs."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.search import batches


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryClient:
    """A mailbox of the UIDs 1 to 23, of which some are gone."""
    monkeypatch.setattr(batches, "SMALLEST", 2)
    spool = Spool(tmp_path / "Maildir")
    spool.simple("INBOX", 23)
    made = MemoryWires(spool.root).connect(login=True)
    made.command(b"a ENABLE UIDONLY")
    made.command(b"b SELECT INBOX")
    return made


def asked(client: MemoryClient, arguments: str) -> list[tuple[int, int]]:
    line, done = client.command(b"t UIDBATCHES " + arguments.encode())
    assert done.startswith(b"t OK")
    found = re.fullmatch(rb'\* UIDBATCHES \(TAG "t"\)(?: (\S+))?', line)
    assert found, line
    return [(int(high), int(low)) for high, low in re.findall(rb"(\d+):(\d+)", found[1] or b"")]


@pytest.mark.parametrize("seed", range(6))
def test_batches_meet_and_have_as_many_messages_as_was_asked(seed: int, client: MemoryClient) -> None:
    rng = random.Random(seed)
    gone = rng.sample(range(1, 24), rng.randint(0, 12))
    if gone:
        client.command(b"c UID STORE %b +FLAGS.SILENT (\\Deleted)" % ",".join(map(str, gone)).encode())
        client.command(b"d EXPUNGE")
    left = sorted(set(range(1, 24)) - set(gone), reverse=True)
    for size in (2, 3, 5, 23, 24, 1000):
        found = asked(client, f"{size}")
        assert found[0][0] == 23
        assert found[-1][1] == 1
        for (_, low), (high, _) in itertools.pairwise(found):
            assert high == low - 1
        held = [[uid for uid in left if low <= uid <= high] for high, low in found]
        assert held == [left[start : start + size] for start in range(0, len(left), size)]
        for first in range(1, len(found) + 3):
            last = rng.randint(first, first + 4)
            assert asked(client, f"{size} {first}:{last}") == found[first - 1 : last]


def test_what_comes_later_lies_in_no_batch(client: MemoryClient) -> None:
    before = asked(client, "20")
    assert before == [(23, 4), (3, 1)]
    client.command(b"c UID COPY 1 INBOX")
    assert asked(client, "20") == [(24, 5), (4, 1)]


def test_a_mailbox_without_messages(client: MemoryClient) -> None:
    client.command(b"c CREATE Empty")
    client.command(b"d SELECT Empty")
    assert asked(client, "500") == []
    assert asked(client, "500 2:7") == []


def test_very_many_batches_are_as_much_work_as_there_are(client: MemoryClient) -> None:
    assert asked(client, "4294967295 1:4294967295") == [(23, 1)]
    assert asked(client, "2 4294967294:4294967295") == []
