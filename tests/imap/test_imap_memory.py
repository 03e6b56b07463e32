"""A command that needs much memory takes its share of it first, and gives it back; with none left it is NO [LIMIT]."""

from __future__ import annotations

import gzip
import os
import quopri
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory import POLICY

from maildir_imapd.budget import Budget
from maildir_imapd.imap import progress
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account

MIB = 1024 * 1024
LINE = "Grüße an alle, die das lesen: äöü\r\n".encode()
TEXT = LINE * (MIB // len(LINE))
PLAIN = (
    b"From: a@example.org\r\nSubject: plain\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Transfer-Encoding: %b\r\n\r\n%b"
)
QUOTED = PLAIN % (b"quoted-printable", quopri.encodestring(TEXT))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """1: a large message in quoted-printable; 2: a small one; 3: a large one that lies compressed."""
    for sub in ("cur", "new", "tmp"):
        (tmp_path / sub).mkdir()
    small = PLAIN % (b"8bit", LINE)
    large = PLAIN % (b"8bit", TEXT)
    for n, data in enumerate((QUOTED, small, gzip.compress(large)), 1):
        name = f"170000000{n}.M{n}P1.host" + (f",S={len(large)}" if n == 3 else "")
        (tmp_path / "cur" / f"{name}:2,S").write_bytes(data)
    return tmp_path


class Seconds:
    """A clock that goes on by a second at each look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


class Client:
    """A session whose answers are kept."""

    def __init__(self, account: Account, budget: Budget) -> None:
        self.engine = Engine(POLICY, preauth=Access("ann", account), budget=budget, ticks=Seconds())
        self.out = bytearray()
        self.reply = Reply(self.take)
        self.engine.greet(self.reply)
        self.command(b"s SELECT INBOX")
        self.taking: Callable[[], None] = lambda: None

    def take(self, data: bytes) -> None:
        self.out += data
        if hasattr(self, "taking"):
            self.taking()

    def command(self, line: bytes) -> bytes:
        self.out.clear()
        self.engine.feed(line + b"\r\n", self.reply)
        return bytes(self.out)


@pytest.fixture
def budget() -> Budget:
    return Budget(100 * MIB)


@pytest.fixture
def client(root: Path, budget: Budget) -> Iterator[Client]:
    client = Client(Account(os.fsencode(root), fsync="never"), budget)
    yield client
    client.engine.close()


LARGE = [
    b"FETCH 1 (BINARY.PEEK[1])",
    b"FETCH 1 (BINARY.SIZE[1])",
    b"FETCH 3 (BODY.PEEK[])",
    b"FETCH 3 (BODY.PEEK[1]<5.10>)",
    b"FETCH 3 (ENVELOPE BODYSTRUCTURE PREVIEW)",
    b"FETCH 3 (RFC822.SIZE)",
    b"SEARCH 1 TEXT nothing",
    b"SEARCH 3 TEXT nothing",
    b"SORT (SUBJECT) UTF-8 3",
    b'APPEND INBOX CATENATE (URL "/INBOX/;UID=1")',
    b'APPEND INBOX CATENATE (URL "/;UID=3")',
    b"APPEND INBOX CATENATE (URL ;UID=1 URL ;UID=3 URL ;UID=2)",
]


@pytest.mark.parametrize("command", LARGE)
def test_it_is_counted_while_it_is_held(client: Client, budget: Budget, command: bytes) -> None:
    """Said by who has room for less than that; and all of it is given back, but for what is kept for the next."""
    highest: list[int] = []
    share = budget.share

    def counted(octets: int) -> object:
        found = share(octets)
        highest.append(budget.taken)
        return found

    budget.share = counted  # type: ignore[assignment,method-assign]  # looked at on its way
    before = budget.taken
    assert b" OK " in client.command(b"a " + command)[-80:]
    assert max(highest, default=0) > 2 * MIB
    client.command(b"b FETCH 2 (FLAGS)")
    assert budget.taken - before < 4 * MIB
    client.engine.close()
    assert budget.taken == 0


@pytest.mark.parametrize("command", LARGE)
def test_without_room_it_waits_and_is_refused(client: Client, budget: Budget, command: bytes) -> None:
    others = budget.share(99 * MIB)
    waited: list[float] = []
    budget.wait = waited.append  # type: ignore[method-assign]  # nobody gives anything back
    answer = client.command(b"a " + command)
    assert answer.endswith(b"a NO [LIMIT] The server has no memory for this just now; try again later\r\n")
    assert len(waited) > 3
    assert budget.taken == 99 * MIB, "nothing of it is kept"
    # All else goes on, the small message too.
    assert b"b OK" in client.command(b"b FETCH 2 (BODY.PEEK[] ENVELOPE)")
    others.close()
    assert b" OK " in client.command(b"c " + command)[-80:]


def test_a_word_is_said_while_it_waits(client: Client, budget: Budget) -> None:
    others = budget.share(99 * MIB)
    times = 0

    def wait(_: float) -> None:
        nonlocal times
        times += 1
        if times == 8:
            others.close()

    budget.wait = wait  # type: ignore[method-assign]
    answer = client.command(b"a FETCH 1 (BINARY.PEEK[1])")
    assert b'* OK [INPROGRESS ("a" NIL NIL)]' in answer
    assert b"a OK" in answer[-60:]


def test_what_never_has_room_is_refused_at_once(root: Path) -> None:
    budget = Budget(MIB)
    budget.wait = pytest.fail  # type: ignore[assignment,method-assign]
    client = Client(Account(os.fsencode(root), fsync="never"), budget)
    assert b"a NO [LIMIT]" in client.command(b"a FETCH 1 (BINARY.PEEK[1])")
    client.engine.close()


def test_it_is_held_until_it_is_sent(client: Client, budget: Budget) -> None:
    """What a client does not read stays counted."""
    seen: list[int] = []
    client.taking = lambda: seen.append(budget.taken)
    answer = client.command(b"a FETCH 1 (BINARY.PEEK[1])")
    assert len(answer) > MIB
    assert max(seen) > 3 * MIB
    assert budget.taken == 0


def test_what_was_unpacked_is_kept_as_long_as_there_is_plenty(client: Client, budget: Budget) -> None:
    """For whoever fetches it piece by piece; with little left others have more use for it."""
    client.command(b"a FETCH 3 (BODY.PEEK[1]<5.10>)")
    kept = budget.taken
    assert MIB < kept < 4 * MIB
    client.command(b"b FETCH 3 (BODY.PEEK[1]<15.10>)")
    assert budget.taken == kept
    client.command(b"c UNSELECT")
    assert budget.taken == 0
    client.command(b"d SELECT INBOX")
    others = budget.share(60 * MIB)
    assert b"e OK" in client.command(b"e FETCH 3 (BODY.PEEK[1]<5.10>)")
    assert budget.taken == 60 * MIB
    others.close()


def test_a_message_with_binary_parts_is_counted_when_it_comes_in(client: Client, budget: Budget) -> None:
    body = bytes(range(256)) * 2048
    message = (
        b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    )
    message += body
    command = b"a APPEND INBOX ~{%d+}\r\n%b" % (len(message), message)
    others = budget.share(99 * MIB)
    budget.wait = lambda _: None  # type: ignore[method-assign]
    assert client.command(command).endswith(b"try again later\r\n")
    others.close()
    assert b"a OK" in client.command(command)
    assert budget.taken == 0


def test_the_wait_is_shorter_than_a_clients_patience() -> None:
    assert progress.LOOK_SECONDS < progress.ROOM_SECONDS < 30
