"""Courier's keyword files are kept true while we run, and what Courier changes in them is taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crash import Died
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.neighbours import courier
from maildir_imapd.store.neighbours.courier_keywords import NAME


class Courier:
    """Courier's side of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "courierimapkeywords"

    def words(self) -> dict[str, set[str]]:
        found = courier.read_keywords(os.fsencode(self.folder))
        return {os.fsdecode(base): {word.decode() for word in words} for base, words in found.items() if words}

    def store(self, base: str, *words: str) -> None:
        """Give a message these keywords: a change that is not merged yet."""
        self.path.mkdir(exist_ok=True)
        (self.path / ".tmp.1").write_text("".join(f"{word}\n" for word in words))
        (self.path / ".tmp.1").rename(self.path / base)

    def merge(self) -> None:
        """Write the list, and keep what was merged, aged."""
        words = courier.read_keywords(os.fsencode(self.folder))
        (self.path / "new").write_bytes(courier.render_keywords(words))
        (self.path / "new").rename(self.path / ":list")
        for file in self.path.iterdir():
            if not file.name.startswith((".", ":")):
                file.rename(self.path / f".5985416.{file.name}")


@pytest.fixture
def theirs(spool: Spool) -> Courier:
    return Courier(spool.root)


def opened(spool: Spool, **options: bool) -> Mailbox:
    box = Account(os.fsencode(spool.root), fsync="never", mirror="courier", **options).mailbox("INBOX")
    box.sync()
    return box


def store(box: Mailbox, uid: int, *words: str, replace: bool = True) -> None:
    bits, extra = box.bits([word.encode() for word in words], create=True)
    box.set_flags([uid], add=bits, extra_add=extra, replace=replace)


def ours(box: Mailbox) -> dict[str, set[str]]:
    rows = box.sync()
    found = {}
    for uid, base, bits in zip(rows.uids, rows.names, rows.flags, strict=True):
        words = {word.decode() for word in rows.flag_names(bits, uid) if not word.startswith(b"\\")}
        if words:
            found[os.fsdecode(base)] = words
    return found


def test_what_we_change_is_there_at_once(spool: Spool, theirs: Courier) -> None:
    one, two = spool.simple("INBOX", 2, "S")
    box = opened(spool)
    assert not theirs.path.exists()
    store(box, 1, "urgent", "later")
    store(box, 2, "later")
    assert theirs.words() == {one: {"urgent", "later"}, two: {"later"}}
    store(box, 1, "later")
    assert theirs.words() == {one: {"later"}, two: {"later"}}
    box.expunge([1])
    store(box, 2)
    assert theirs.words() == {}


def test_flags_alone_do_not_touch_it(spool: Spool, theirs: Courier) -> None:
    spool.simple("INBOX", 2)
    box = opened(spool)
    store(box, 1, "urgent")
    before = (theirs.path / ":list").stat().st_mtime_ns
    box.set_flags([1, 2], add=SEEN)
    assert (theirs.path / ":list").stat().st_mtime_ns == before


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_what_courier_changes_is_taken(spool: Spool, theirs: Courier, merged: bool, again: bool) -> None:
    """*again*: by a process that comes later."""
    one, two = spool.simple("INBOX", 2, "S")
    box = opened(spool)
    store(box, 1, "urgent")
    modseq = box.snapshot.modseq
    theirs.store(one)
    theirs.store(two, "new", "Urgent")
    if merged:
        theirs.merge()
    if again:
        box = opened(spool)
    assert ours(box) == {two: {"new", "urgent"}}
    assert min(box.snapshot.modseqs) > modseq, "clients with CONDSTORE must hear of it"
    # Ours is written over theirs only with theirs in it.
    store(box, 1, "mine")
    assert theirs.words() == {one: {"mine"}, two: {"new", "urgent"}}


def test_both_change_before_either_looks(spool: Spool, theirs: Courier) -> None:
    one, two, three = spool.simple("INBOX", 3, "S")
    box = opened(spool)
    store(box, 1, "old")
    store(box, 3, "old")
    theirs.store(two, "theirs")
    theirs.store(three)
    store(box, 1, "ours")
    assert theirs.words() == {one: {"ours"}, two: {"theirs"}}
    assert ours(box) == {one: {"ours"}, two: {"theirs"}}


def test_a_message_that_courier_has_marked_before_we_saw_it(spool: Spool, theirs: Courier) -> None:
    (one,) = spool.simple("INBOX", 1, "S")
    box = opened(spool)
    store(box, 1, "mine")
    (two,) = spool.simple("INBOX", 1, "S")
    theirs.store(two, "theirs")
    theirs.store("9.gone", "nobodys")
    store(box, 1, "other")
    assert theirs.words() == {one: {"other"}, two: {"theirs"}}, "what is gone has no line"
    assert ours(box) == {one: {"other"}, two: {"theirs"}}


def test_courier_drops_the_letters_in_the_names(spool: Spool, theirs: Courier) -> None:
    (one,) = spool.simple("INBOX", 1, "S")
    box = opened(spool)
    store(box, 1, "urgent")
    name = spool.find("INBOX", one).name
    assert name.endswith(":2,a"), "a letter for other programs"
    spool.reflag("INBOX", one, "FS")
    assert ours(box) == {one: {"urgent"}}
    assert spool.find("INBOX", one).name.endswith(":2,FSa")
    assert theirs.words() == {one: {"urgent"}}
    assert box.read(1)
    box.sync(look=True)
    assert spool.find("INBOX", one).name.endswith(":2,FSa")


def test_they_meet_and_nothing_is_dropped(spool: Spool, theirs: Courier) -> None:
    """A spool that both have been on, each without the other."""
    one, two = spool.simple("INBOX", 2, "S")
    box = Account(os.fsencode(spool.root), fsync="never", mirror="dovecot").mailbox("INBOX")
    box.sync()
    store(box, 1, "ours")
    theirs.store(one, "theirs")
    theirs.store(two, "more")
    theirs.merge()
    assert ours(opened(spool)) == {one: {"ours", "theirs"}, two: {"more"}}
    assert theirs.words() == {one: {"ours", "theirs"}, two: {"more"}}


def test_released_and_back(spool: Spool, theirs: Courier) -> None:
    """What Courier takes away in the meantime stays away."""
    one, two = spool.simple("INBOX", 2, "S")
    box = Account(os.fsencode(spool.root), fsync="never", mirror="dovecot").mailbox("INBOX")
    box.sync()
    store(box, 1, "urgent")
    store(box, 2, "urgent")
    box.release("courier")
    assert theirs.words() == {one: {"urgent"}, two: {"urgent"}}
    theirs.store(one)
    theirs.merge()
    assert ours(opened(spool)) == {two: {"urgent"}}


def test_release_takes_what_courier_has_changed_since(spool: Spool, theirs: Courier) -> None:
    """It is run by hand, perhaps after Courier has been on for a while."""
    one, two = spool.simple("INBOX", 2, "S")
    box = opened(spool)
    store(box, 1, "urgent")
    box.close()
    theirs.store(one)
    theirs.store(two, "new")
    Account(os.fsencode(spool.root), fsync="never", mirror="courier").mailbox("INBOX").release("courier")
    assert theirs.words() == {two: {"new"}}


def test_a_list_that_cannot_be_written_costs_no_keyword(
    spool: Spool, theirs: Courier, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = spool.simple("INBOX", 2, "S")
    box = opened(spool)
    store(box, 1, "urgent")
    (theirs.path / ":list").unlink()
    (theirs.path / ":list").mkdir()
    store(box, 1, "later")
    assert "behind" in caplog.text
    assert ours(box) == {one: {"later"}}
    (theirs.path / ":list").rmdir()
    assert ours(opened(spool)) == {one: {"later"}}, "also by a process that does not know"
    assert theirs.words() == {one: {"later"}}


def test_die_at_every_step(tmp_path: Path, dying: list[int]) -> None:
    """A keyword that was said to be stored is stored, one that was taken away is away, in both."""
    for step in range(1, 60):
        spool = Spool(tmp_path / str(step))
        theirs = Courier(spool.root)
        one, two, three = spool.simple("INBOX", 3, "S")
        box = opened(spool)
        store(box, 1, "gone")
        store(box, 2, "stays")
        theirs.store(three, "theirs")
        dying[0] = step
        try:
            store(box, 1, "new")
        except Died:
            died = True
        else:
            died = False
        dying[0] = 0
        box.close()
        box = opened(spool)
        after = ours(box)
        # A client that has heard nothing may see either.
        assert after.pop(one) in ([{"gone"}, {"new"}] if died else [{"new"}])
        assert after == {two: {"stays"}, three: {"theirs"}}
        assert theirs.words() == {**after, one: ours(box)[one]}
        box.close()
        if not died:
            break
    else:
        pytest.fail("it never came to an end")
    assert step > 8


def test_the_mark_goes_where_courier_is_not_kept(spool: Spool, theirs: Courier) -> None:
    spool.simple("INBOX", 1, "S")
    store(opened(spool), 1, "urgent")
    assert (spool.root / os.fsdecode(NAME)).read_bytes() == b""
    Account(os.fsencode(spool.root), fsync="never", mirror="none").mailbox("INBOX")
    assert not (spool.root / os.fsdecode(NAME)).exists()
    assert durable.step is None
