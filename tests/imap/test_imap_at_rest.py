"""A mailbox that is open and at rest: NOOP looks once, and is told of whatever happens between two of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from memory import MemoryClient
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.current import CurrentFolder, at_rest
from maildir_imapd.store.folder import rounds
from maildir_imapd.store.maildir import scan
from maildir_imapd.store.watch import Watcher


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    found = Watcher("inotify")
    yield found
    found.close()


@pytest.fixture(params=["old", "young"])
def client(
    request: pytest.FixtureRequest, spool: Spool, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> MemoryClient:
    """A client whose mailbox is at rest; its stamps are old enough to be trusted, or not."""
    spool.simple("Work", 3, "")
    spool.age("Work")
    monkeypatch.setattr(scan, "SETTLE_NS", 0 if request.param == "old" else 3600 * 10**9)
    # The watch thread sees what happens as well; here nobody but the client looks.
    monkeypatch.setattr(CurrentFolder, "refresh", lambda self: None)
    monkeypatch.setattr(rounds, "PAUSE_SECONDS", 3600.0)
    found = MemoryClient(Account(os.fsencode(spool.root), fsync="never", watcher=watcher))
    found.read_line()
    found.command(b"L LOGIN ann secret")
    found.command(b"s SELECT Work")
    found.command(b"f FETCH 1:* (FLAGS ENVELOPE)")
    for _ in range(6):
        assert found.command(b"n NOOP") == [b"n OK NOOP completed"]
    assert at_rest(found.session.selected.mailbox, keep_new=False)
    return found


def first(spool: Spool) -> str:
    return spool.files("Work")[0].partition(":")[0]


CHANGES: dict[str, tuple[Callable[[Spool], object], bytes]] = {
    "delivered": (lambda spool: spool.simple("Work", 1, None), b"* 4 EXISTS"),
    "put into cur": (lambda spool: spool.simple("Work", 1, ""), b"* 4 EXISTS"),
    "flagged": (lambda spool: spool.reflag("Work", first(spool), "F"), b"* 1 FETCH (FLAGS (\\Flagged))"),
    "folder renamed": (lambda spool: spool.path("Work").rename(spool.path("Other")), b"* BYE"),
    "folder removed": (lambda spool: shutil.rmtree(spool.path("Work")), b"* BYE"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_another_program_does_is_told_with_the_next_command(
    spool: Spool, client: MemoryClient, change: str
) -> None:
    act, expected = CHANGES[change]
    act(spool)
    told = client.command(b"n NOOP")
    assert any(line.startswith(expected) for line in told), told


def test_what_another_process_of_ours_does_is_told_with_the_next_command(spool: Spool, client: MemoryClient) -> None:
    other = Account(os.fsencode(spool.root), fsync="never").mailbox("Work")
    words = [b"word%d" % number for number in range(30)]
    other.set_flags([2], add=other.flags(words, create=True))
    told = client.command(b"n NOOP")
    assert any(line.startswith(b"* 2 FETCH (FLAGS (") and b"word29" in line for line in told), told
    other.expunge([1])
    assert b"* 1 EXPUNGE" in client.command(b"n NOOP")


def test_files_are_compared_when_it_is_their_turn(spool: Spool, client: MemoryClient) -> None:
    """A mailbox at which nothing happens is none to which nobody writes."""
    mailbox = client.session.selected.mailbox
    file = spool.path("Work") / "cur" / spool.files("Work")[0]
    file.write_bytes(b"Subject: written anew\n\nx\n")
    mailbox._rounds._not_before = 1.0
    assert not at_rest(mailbox, keep_new=False)
    client.command(b"n NOOP")
    assert b"written anew" in client.command(b"f FETCH 1 (ENVELOPE)")[0]
