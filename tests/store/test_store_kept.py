"""What was expunged and is still shown: kept until the last client of the host has been told (kept.py, claim.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from maildir_imapd import errors
from maildir_imapd.store.disk import filesystems
from maildir_imapd.store.folder import kept
from maildir_imapd.store.index.claim import Claim
from maildir_imapd.store.index.lock import NAME
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.threads.listeners import Listener


def shown(box: Mailbox) -> Listener:
    """Show what is there now to a client."""
    found = box.listen(lambda: None)
    found.told = box.snapshot.modseq
    return found


def tell(box: Mailbox, client: Listener) -> None:
    box.sync()
    client.told = box.snapshot.modseq
    box.showing.told()


def hidden(maildir: Any) -> list[str]:
    return [name for name in maildir.names("tmp") if name.startswith("maildir-imapd.gone.")]


@contextmanager
def another_process(work: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Do *work* in a child, which lives until the block, or what it gets, ends it."""
    said, say = os.pipe()
    wait, end = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(end)
            work()
            os.write(say, b"x")
            os.read(wait, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(wait)
    os.close(say)
    assert os.read(said, 1) == b"x"
    ended: list[int] = []

    def over() -> None:
        if not ended:
            os.close(end)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            assert ended == [0]

    try:
        yield over
    finally:
        over()
        os.close(said)


def test_nobody_else_shows_it(maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    client = shown(box)
    box.expunge([1])
    assert hidden(maildir) == []
    with pytest.raises(errors.MessageGone):
        box.read(1)
    client.close()
    box.expunge([2])
    assert hidden(maildir) == []


def test_until_every_client_of_the_process_has_been_told(maildir: Any) -> None:
    maildir.fill(3)
    box = maildir.open()
    first, second, third = shown(box), shown(box), shown(box)
    text = box.read(2)
    box.expunge([2])
    assert maildir.names("cur") == [name for name in maildir.names("cur") if "M1P1" in name]
    assert len(maildir.names("cur")) == 2
    assert box.read(2) == text
    tell(box, first)
    tell(box, second)
    assert box.read(2, under=box.uidvalidity) == text
    with pytest.raises(errors.MessageGone):
        box.read(2, under=box.uidvalidity + 1)
    tell(box, third)
    assert hidden(maildir) == []
    with pytest.raises(errors.MessageGone):
        box.read(2)


def test_a_client_that_leaves_needs_nothing_any_more(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open()
    first, second = shown(box), shown(box)
    box.expunge([1])
    assert len(hidden(maildir)) == 1
    tell(box, first)
    second.close()
    first.close()
    assert hidden(maildir) == []


def test_two_that_leave_at_once_leave_nothing(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two processes would: the one leaves while the other looks whether anybody is left."""
    maildir.fill(2)
    box, other = maildir.open(), maildir.open()
    first, second = shown(box), shown(other)
    box.expunge([1])
    assert len(hidden(maildir)) == 1
    true = box._folder.kept.sweep

    def sweep(told: int | None) -> bool:
        second.close()
        return true(told)

    monkeypatch.setattr(box._folder.kept, "sweep", sweep)
    first.close()
    assert hidden(maildir) == []


def test_one_that_only_waits_for_news_shows_nothing(maildir: Any) -> None:
    """As NOTIFY does."""
    maildir.fill(1)
    box = maildir.open()
    shown(box)
    box.listen(lambda: None)
    box.expunge([1])
    assert hidden(maildir) == []


def test_another_process_shows_it(maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    client = shown(box)
    with another_process(lambda: setattr(maildir, "theirs", shown(maildir.open()))) as over:
        text = box.read(1)
        box.expunge([1])
        tell(box, client)
        assert box.read(1) == text
        assert len(hidden(maildir)) == 1
        over()
        tell(box, client)
        assert hidden(maildir) == []


def test_the_process_that_tells_last_removes_it(maildir: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    client = shown(box)

    def expunge() -> None:
        other = maildir.open()
        theirs = shown(other)
        other.expunge([1])
        tell(other, theirs)
        theirs.close()

    with another_process(expunge) as over:
        over()
    assert len(hidden(maildir)) == 1
    assert box.read(1)
    tell(box, client)
    assert hidden(maildir) == []


def test_a_process_that_dies_claims_nothing(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open()
    with another_process(lambda: setattr(maildir, "theirs", shown(maildir.open()))) as over:
        assert box.showing.elsewhere()
        over()
    assert not box.showing.elsewhere()


def test_what_a_move_takes_away_is_kept_too(maildir: Any, make_maildir: Any) -> None:
    maildir.fill(1)
    box, target = maildir.open(), make_maildir("target").open()
    shown(box), shown(box)
    text = box.read(1)
    target.copy_from(box, [1], move=True)
    assert box.read(1) == text
    assert target.read(1) == text


def test_one_that_another_program_renamed_meanwhile(maildir: Any) -> None:
    (base,) = maildir.fill(1)
    box = maildir.open()
    shown(box), shown(box)
    (maildir.path / "cur" / f"{base}:2,").rename(maildir.path / "cur" / f"{base}:2,F")
    box.expunge([1])
    assert maildir.names("cur") == []
    assert box.read(1)


@pytest.mark.parametrize("bound", ["KEPT_MESSAGES", "KEPT_OCTETS"])
def test_it_is_bounded_by_count_and_octets(maildir: Any, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    maildir.fill(5)
    box = maildir.open()
    size = len(box.read(1))
    monkeypatch.setattr(kept, bound, 2 if bound == "KEPT_MESSAGES" else 2 * size)
    shown(box), shown(box)
    box.expunge([1, 2, 3, 4])
    assert len(hidden(maildir)) == 2
    assert maildir.names("cur") == [name for name in maildir.names("cur") if name.startswith("1700000004")]


def test_it_is_bounded_by_time(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(2)
    box = maildir.open()
    shown(box), shown(box)
    box.expunge([1])
    box.refresh()
    assert len(hidden(maildir)) == 1
    later = time.time() + kept.KEPT_SECONDS + 1
    monkeypatch.setattr(kept.time, "time", lambda: later)
    box.refresh()
    assert hidden(maildir) == []


def test_what_is_not_on_record_yet_stays(maildir: Any) -> None:
    """Another process hides the file first, and writes the journal then: whoever sweeps in between leaves it."""
    maildir.fill(3)
    box = maildir.open()
    first, second = shown(box), shown(box)
    box.expunge([1])
    name = os.fsencode(maildir.path / "tmp") + b"/maildir-imapd.gone.%d.2.%d" % (box.uidvalidity, box.snapshot.modseq)
    with open(name, "wb") as file:
        file.write(b"Subject: x\n\n")
    tell(box, first)
    tell(box, second)
    assert hidden(maildir) == [os.fsdecode(os.path.basename(name))]


def test_what_a_crash_left_behind_goes_with_the_next_session(maildir: Any) -> None:
    maildir.fill(1)
    (maildir.path / "tmp" / "maildir-imapd.gone.1.7.5").write_text("x")
    (maildir.path / "tmp" / "maildir-imapd.gone.x").write_text("x")
    (maildir.path / "tmp" / "1.delivery").write_text("x")
    box = maildir.open()
    shown(box).close()
    client = shown(box)
    box.expunge([1])
    tell(box, client)
    client.close()
    assert maildir.names("tmp") == ["1.delivery"]


def test_where_files_cannot_be_hidden_they_are_removed(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(2)
    box = maildir.open()
    shown(box), shown(box)
    (maildir.path / "tmp").rmdir()
    box.expunge([1])
    assert len(maildir.names("cur")) == 1
    with pytest.raises(errors.MessageGone):
        box.read(1)


def test_on_a_network_file_system_nothing_is_claimed(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock there may be flock's, and in its way."""
    maildir.fill(1)
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "nfs")
    box = maildir.open()
    with another_process(lambda: setattr(maildir, "theirs", shown(maildir.open()))):
        assert not box.showing.elsewhere()


def test_a_claim_goes_where_the_lock_s_file_is(maildir: Any) -> None:
    """One file for both: what is claimed is claimed in the one that has the name, whoever has put it there."""
    maildir.fill(1)
    box, other = maildir.open(), maildir.open()
    client = shown(box)
    folder = box._folder
    assert not folder.claim.is_open, "it has the lock's"
    assert other.showing.elsewhere()
    with folder.exclusive():
        assert other.showing.elsewhere(), "nobody is shut out by it"
    (maildir.path / NAME.decode()).unlink()
    with other._folder.exclusive():
        pass  # that makes it anew, and hears of no claim there
    assert not other.showing.elsewhere()
    with folder.exclusive():
        pass
    assert other.showing.elsewhere()
    assert other._folder.claim.others(box.snapshot.modseq + 1)
    assert not other._folder.claim.others(box.snapshot.modseq)
    client.close()
    assert not other.showing.elsewhere()


def test_a_lock_s_file_that_is_closed_takes_no_claim_with_it(maildir: Any) -> None:
    maildir.fill(1)
    box, other = maildir.open(), maildir.open()
    shown(box)
    box._folder.lock.close()
    box._folder.claim.move(box.snapshot.modseq)
    assert other.showing.elsewhere()
    assert box._folder.claim.is_open
    with box._folder.exclusive():
        assert not box._folder.claim.is_open
    assert other.showing.elsewhere()


def test_a_claim_moves_without_a_gap(maildir: Any) -> None:
    box = maildir.open()
    box.sync()
    directory = box._folder.directories.index
    one, other = Claim(directory, box.path), Claim(directory, box.path)
    assert not other.others(1)
    one.move(7)
    assert not other.others(7)
    assert other.others(8)
    assert not one.others(8), "its own is no other's"
    one.move(9)
    assert (other.others(9), other.others(10)) == (False, True)
    one.move(1 << 70)
    assert not other.others(1 << 61)
    one.move(None)
    assert not other.others(1 << 70)
    one.close()
    other.close()
    one.move(3)
    assert not one.others(1 << 70)
