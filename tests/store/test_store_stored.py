"""A checkpoint that is read column by column: what is asked for when, and what becomes of one that lies."""

from __future__ import annotations

import gc
import os
import sys
import threading
import zlib
from array import array
from pathlib import Path

import pytest
from checkpoints import rendered
from hypothesis import given
from hypothesis import strategies as st
from maildir import Maildir
from snapshots import added, box, rows

from maildir_imapd import errors
from maildir_imapd.store.folder import first_contact, tidying
from maildir_imapd.store.index import checkpoint, stored
from maildir_imapd.store.index.builder import applied
from maildir_imapd.store.index.columns import COLUMNS, NAMES
from maildir_imapd.store.index.expunges import Expunges
from maildir_imapd.store.index.journal import Batch, to_ranges
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.index.state import IndexState
from maildir_imapd.store.maildir.filename import DELETED, FLAGGED, IN_NEW, RECENT, SEEN
from maildir_imapd.store.maildir.flags import Flags

EVERYTHING = (*(column for column, _ in COLUMNS), NAMES)
INDEX = "maildir-imapd.index"


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every checkpoint is larger than what is read in one go."""
    monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)


def loaded(directory: Path, state: IndexState) -> IndexState:
    (directory / INDEX).write_bytes(b"".join(checkpoint.render(state)))
    return load(directory)


def load(directory: Path) -> IndexState:
    number = os.open(directory, os.O_RDONLY)
    try:
        return checkpoint.load(number)
    finally:
        os.close(number)


def here(snapshot: Snapshot) -> set[str]:
    return {column for column in EVERYTHING if snapshot.here(column)}


SOME = box(1, 2, 3, 7, flags=SEEN)


def test_only_the_head_is_read(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    assert len(now) == 4
    assert (now.unseen, now.recent, now.deleted, now.in_new, now.first_unseen) == (0, 0, 0, 0, -1)
    assert (now.uidvalidity, now.uidnext, now.modseq) == (SOME.uidvalidity, SOME.uidnext, SOME.modseq)
    assert here(now) == set()


def test_a_column_is_read_when_it_is_asked_for(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    assert list(now.uids) == [1, 2, 3, 7]
    assert here(now) == {"uids"}
    assert now.names == SOME.names
    assert here(now) == {"uids", NAMES}
    assert rows(now) == rows(SOME)


def test_a_small_file_is_read_at_once(tmp_path: Path) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    assert here(now) == set(EVERYTHING)
    assert open_files(tmp_path) == []


@pytest.mark.parametrize(
    ("batch", "asked"),
    [
        pytest.param(Batch(modseq=1, uidnext=20, raised=20), set(), id="UIDNEXT"),
        pytest.param(
            Batch(modseq=9, uidnext=8, flagged=[([(1, 2)], FLAGGED, 0)]), {"uids", "flags", "modseqs"}, id="flags"
        ),
        pytest.param(Batch(modseq=1, uidnext=8, claimed=8), {"flags"}, id="claim"),
        pytest.param(Batch(modseq=1, uidnext=8, sizes=[(2, 5)]), {"uids", "sizes"}, id="a size"),
        pytest.param(Batch(modseq=9, uidnext=9, added=[added(8)]), set(EVERYTHING), id="a new one"),
    ],
)
def test_what_follows_asks_for_what_it_changes(tmp_path: Path, large: None, batch: Batch, asked: set[str]) -> None:
    state = loaded(tmp_path, IndexState(snapshot=SOME))
    then = state.after([batch]).snapshot
    assert here(then) == asked
    assert rows(then) == rows(applied(SOME, [batch]))
    assert (then.unseen, then.recent, then.first_unseen) == (
        sum(not flags & SEEN for flags in then.flags),
        0,
        next((at for at, flags in enumerate(then.flags) if not flags & SEEN), -1),
    )


def test_the_next_moment_does_not_read_again_what_somebody_has(
    tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    then = now.evolve(uidnext=99)
    assert now.sizes is then.sizes
    assert now.uids is not applied(then, [Batch(modseq=9, uidnext=99, expunged=[(1, 1)])]).uids


def test_the_file_is_another_one_by_now(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    (tmp_path / "next").write_bytes(b"")
    (tmp_path / "next").replace(tmp_path / INDEX)
    assert rows(now) == rows(SOME)


def open_files(directory: Path) -> list[str]:
    """The files in *directory* that this process has open."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith(f"{directory}/"):
            found.append(target)
    return found


def test_the_file_is_closed_when_nobody_can_ask_any_more(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    then = now.evolve(uidnext=99)
    for column in EVERYTHING:
        getattr(now, column)
    assert len(open_files(tmp_path)) == 1, "the next moment may ask"
    del then
    gc.collect()
    assert open_files(tmp_path) == []
    assert rows(now) == rows(SOME)


def damage(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        octet = file.read(1)
        file.seek(at)
        file.write(bytes([octet[0] ^ 1]))


def test_a_damaged_column_is_an_error_and_the_others_are_not(tmp_path: Path, large: None, caplog: object) -> None:
    (tmp_path / INDEX).write_bytes(b"".join(checkpoint.render(IndexState(snapshot=SOME))))
    sizes = (tmp_path / INDEX).read_bytes().index(stored.packed(SOME.sizes))
    damage(tmp_path / INDEX, sizes + 3)
    now = load(tmp_path).snapshot
    assert not now.damaged
    with pytest.raises(errors.IndexDamaged):
        now.sizes  # noqa: B018  # what is asked for is what is tested
    assert now.damaged
    assert list(now.uids) == [1, 2, 3, 7]


def test_a_file_that_was_cut_after_it_was_opened(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    os.truncate(tmp_path / INDEX, 300)
    with pytest.raises(errors.IndexDamaged):
        now.names  # noqa: B018  # as above
    assert now.damaged


@pytest.mark.parametrize("small", [True, False])
def test_whatever_octet_is_damaged_it_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    if not small:
        monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)
    data = b"".join(checkpoint.render(IndexState(snapshot=SOME, history=Expunges([(5, 4, 6)]))))
    for at in range(len(data) - 4):  # the last four only say that it is whole
        (tmp_path / INDEX).write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises((checkpoint.Unverified, errors.IndexDamaged)):
            rows(now := load(tmp_path).snapshot)
            assert (list(now.received), list(now.saved), list(now.fingerprints)) is None, at


@pytest.mark.parametrize("lost", [0, 1, 4, 5, 100, 400])
def test_a_file_that_is_cut_is_not_taken(tmp_path: Path, large: None, lost: int) -> None:
    data = b"".join(checkpoint.render(IndexState(snapshot=SOME)))
    (tmp_path / INDEX).write_bytes(data + b"x" if not lost else data[:-lost])
    with pytest.raises(checkpoint.Unverified):
        load(tmp_path)


def resealed(head: bytes, rest: bytes) -> bytes:
    head += b"x %08x\n\n" % zlib.crc32(head)
    return head + rest + zlib.crc32(head + rest).to_bytes(4, "little")


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param((b"d 4", b"d 5"), id="more messages"),
        pytest.param((b"d 4", b"d 0"), id="none"),
        pytest.param((b"o uids 16", b"o uids 12"), id="a shorter column"),
        pytest.param((b"o uids 16", b"o uids -16"), id="less than nothing"),
        pytest.param((b"o uids", b"o eids"), id="no UIDs"),
        pytest.param((b"o gone", b"o lost"), id="no history"),
        pytest.param((b"c 4", b"c x"), id="no number"),
        pytest.param((b"g 0", b"q 0"), id="a line that nobody knows"),
    ],
)
@pytest.mark.parametrize("small", [True, False])
def test_a_head_that_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: tuple[bytes, bytes], small: bool
) -> None:
    if not small:
        monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)
    data = b"".join(checkpoint.render(IndexState(snapshot=SOME)))
    head, _, rest = data[:-4].partition(b"\n\n")
    head = head[: head.rindex(b"\n") + 1]
    assert lie[0] in head
    (tmp_path / INDEX).write_bytes(resealed(head.replace(*lie, 1), rest))
    with pytest.raises(checkpoint.Unverified):
        load(tmp_path)


@pytest.mark.parametrize("version", [1, 2])
def test_earlier_versions_are_read(tmp_path: Path, version: int) -> None:
    now = applied(
        SOME, [Batch(modseq=9, uidnext=8, keywords={36: b"Far"}, worded=[([(2, 2)], frozenset({36}), frozenset())])]
    )
    state = IndexState(
        snapshot=now, generation=3, position=77, history=Expunges([(5, 4, 6)]), whole_above=2, reserve=100
    )
    (tmp_path / INDEX).write_bytes(rendered(state, version))
    again = load(tmp_path)
    assert rows(again.snapshot) == rows(now)
    assert list(again.snapshot.fingerprints) == [0] * 4 if version == 1 else list(now.fingerprints)
    assert (again.generation, again.position, again.history, again.whole_above) == (3, 77, state.history, 2)
    assert again.snapshot.unseen == 0
    assert again.snapshot.extra == {2: frozenset({36})}


@given(st.lists(st.sampled_from([0, SEEN, SEEN | DELETED, RECENT, IN_NEW, FLAGGED | RECENT]), max_size=20))
def test_what_is_counted_is_what_is_there(flags: list[int]) -> None:
    made = applied(box(), [Batch(modseq=2, uidnext=99, added=[added(uid, bits) for uid, bits in enumerate(flags, 1)])])
    again = checkpoint.parse(b"".join(checkpoint.render(IndexState(snapshot=made))))
    assert again is not None
    assert again.snapshot.counts() == made.counts()
    assert again.snapshot.unseen == sum(not bits & SEEN for bits in flags)


def test_a_column_is_little_endian_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stored.packed(array("I", [1, 2])) == b"\1\0\0\0\2\0\0\0"
    monkeypatch.setattr(sys, "byteorder", "big")
    swapped = array("I", [1])
    swapped.byteswap()
    assert stored.packed(swapped) == b"\1\0\0\0"
    assert stored.unpacked("uids", b"\1\0\0\0") == swapped


# --- a mailbox that is open -------------------------------------------------------------------------


@pytest.fixture
def spool(maildir: Maildir, large: None) -> Maildir:
    maildir.fill(5, "S")
    maildir.open().close()
    maildir.settle()
    maildir.open().close()
    return maildir


def test_many_threads_ask_at_once(spool: Maildir) -> None:
    for _ in range(20):
        mailbox = spool.open()
        barrier = threading.Barrier(8)
        found: list[object] = []

        def ask(
            barrier: threading.Barrier = barrier, now: Snapshot = mailbox.snapshot, found: list[object] = found
        ) -> None:
            barrier.wait()
            found.append(([*now.names], [*now.uids], [*now.flags], [*now.sizes], len(now), now.copy().names))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(one == found[0] for one in found)


def test_damage_found_late_is_mended_and_no_uid_is_another_message(spool: Maildir) -> None:
    first = spool.open()
    texts = {uid: first.read(uid) for uid in first.snapshot.uids}
    late = spool.open()
    os.truncate(spool.path / INDEX, 700)
    with pytest.raises(errors.IndexDamaged):
        late.snapshot.names  # noqa: B018  # as above
    late.sync()
    assert not late.snapshot.damaged
    assert {uid: late.read(uid) for uid in late.snapshot.uids} == texts
    assert (spool.path / f"{INDEX}.damaged").exists()
    assert spool.open().snapshot.uidvalidity == late.snapshot.uidvalidity


def test_the_last_to_leave_writes_a_checkpoint(spool: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maildir_imapd.store.folder.tidying.TIDY_OCTETS", 150)
    mailbox = spool.open()
    one, other = mailbox.listen(lambda: None), mailbox.listen(lambda: None)
    for n in range(5):
        mailbox.set_flags([n + 1], add=Flags(FLAGGED))
    before = (spool.path / INDEX).stat().st_ino
    one.close()
    assert (spool.path / INDEX).stat().st_ino == before, "somebody is still here"
    other.close()
    assert (spool.path / INDEX).stat().st_ino != before
    again = spool.open()
    assert again.snapshot.here("uids") is False
    assert [bits & FLAGGED for bits in again.snapshot.flags] == [FLAGGED] * 5
    # Little is left to be told, so the next one writes nothing.
    inode = (spool.path / INDEX).stat().st_ino
    again.listen(lambda: None).close()
    assert (spool.path / INDEX).stat().st_ino == inode


def test_leaving_is_no_error_where_nothing_can_be_written(
    spool: Maildir, monkeypatch: pytest.MonkeyPatch, dying: list[int]
) -> None:
    monkeypatch.setattr("maildir_imapd.store.folder.tidying.TIDY_OCTETS", 0)
    mailbox = spool.open()
    listener = mailbox.listen(lambda: None)
    mailbox.set_flags([1, 2, 3], add=Flags(FLAGGED))
    monkeypatch.setattr("maildir_imapd.store.disk.durable.put", _full)
    listener.close()
    monkeypatch.undo()
    assert [bits & FLAGGED for bits in spool.open().snapshot.flags] == [FLAGGED] * 3 + [0] * 2


def _full(*args: object, **kwargs: object) -> None:
    raise OSError(28, "No space left on device")


@given(
    st.lists(st.sets(st.integers(1, 40), min_size=1, max_size=12), min_size=1, max_size=20),
    st.sets(st.sampled_from(EVERYTHING)),
)
def test_what_remains_of_columns_that_nobody_has_asked_for(
    tmp_path_factory: pytest.TempPathFactory, gone: list[set[int]], asked: set[str]
) -> None:
    """Expunges leave them where they lie, however many, and whatever was asked for in between."""
    plain = box(*range(1, 41), flags=SEEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SMALL_OCTETS", 32)
        now = loaded(tmp_path_factory.mktemp("x"), IndexState(snapshot=plain)).snapshot
    moments = [now]
    for modseq, uids in enumerate(gone, 2):
        batch = Batch(modseq=modseq, uidnext=41, expunged=to_ranges(sorted(uids)))
        now, plain = applied(now, [batch]), applied(plain, [batch])
        assert len(now) == len(plain)
        if modseq % 5 == 0:
            for column in asked:
                getattr(now, column)
        moments.append(now)
    assert rows(now) == rows(plain)
    for column in EVERYTHING:
        assert list(getattr(now, column)) == list(getattr(plain, column))
    assert rows(moments[0]) == rows(box(*range(1, 41), flags=SEEN)), "a moment never changes"
    now, plain = (applied(moment, [Batch(modseq=99, uidnext=42, added=[added(41)])]) for moment in (now, plain))
    assert rows(now) == rows(plain)


def test_an_expunge_reads_no_column_that_it_need_not(tmp_path: Path, large: None) -> None:
    now = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    then = applied(now, [Batch(modseq=9, uidnext=8, expunged=[(2, 2)])])
    assert here(then) == {"uids", "flags"}
    assert len(then) == 3
    assert then.names == [b"1.h", b"3.h", b"7.h"]


def test_after_many_expunges_all_is_read(tmp_path: Path, large: None) -> None:
    """Each would else keep all those before it."""
    now = loaded(tmp_path, IndexState(snapshot=box(*range(1, 41)))).snapshot
    for uid in range(1, 20):
        now = applied(now, [Batch(modseq=uid + 1, uidnext=41, expunged=[(uid, uid)])])
    assert here(now) == set(EVERYTHING)
    assert not now.stored


# --- names, of which few are mostly wanted ------------------------------------------------------------


@given(st.data())
def test_some_names_are_those_of_all(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 40))
    directory = tmp_path_factory.mktemp("names")
    state = IndexState(snapshot=box(*range(1, count + 1)))
    (directory / INDEX).write_bytes(b"".join(checkpoint.render(state)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "SMALL_OCTETS", 32)
        patch.setattr(stored, "_MANY_OF", 1)
        snapshot = load(directory).snapshot
        names = list(state.snapshot.names)
        gaps = data.draw(st.lists(st.integers(0, count - 1), unique=True, max_size=count - 1))
        if gaps:
            snapshot = applied(
                snapshot, [Batch(modseq=9, uidnext=41, expunged=to_ranges([at + 1 for at in sorted(gaps)]))]
            )
            names = [name for at, name in enumerate(names) if at not in gaps]
        for _ in range(3):
            start = data.draw(st.integers(0, len(names)))
            stop = data.draw(st.integers(start, len(names)))
            assert list(snapshot.some_names(start, stop)) == names[start:stop]
            if start < len(names):
                assert snapshot.name(start) == names[start]


def test_one_name_does_not_bring_the_others(tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MANY_OF", 1)
    snapshot = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    assert snapshot.name(2) == SOME.names[2]
    assert NAMES not in here(snapshot)
    for _ in range(10):
        assert snapshot.name(1) == SOME.names[1]
    assert NAMES in here(snapshot), "who asks for many has them all"


def test_names_that_are_damaged_are_not_given(tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MANY_OF", 1)
    snapshot = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    path = tmp_path / INDEX
    path.write_bytes(path.read_bytes().replace(SOME.names[0], bytes(len(SOME.names[0]))))
    with pytest.raises(errors.IndexDamaged):
        snapshot.name(2)
    assert snapshot.damaged


def test_a_file_that_is_cut_behind_the_first_name(tmp_path: Path, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MANY_OF", 1)
    snapshot = loaded(tmp_path, IndexState(snapshot=SOME)).snapshot
    assert snapshot.name(0) == SOME.names[0]
    os.truncate(tmp_path / INDEX, 40)
    with pytest.raises(errors.IndexDamaged):
        snapshot.name(3)
    assert snapshot.damaged


def test_what_a_first_contact_has_read_is_given_back(maildir: Maildir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidying, "STOWED_MESSAGES", 3)
    monkeypatch.setattr(first_contact, "FEW_MESSAGES", 0)
    monkeypatch.setattr(checkpoint, "SMALL_OCTETS", 32)
    for word in ("one", "two", "three"):
        maildir.put(word)
    mailbox = maildir.open()
    before = mailbox.snapshot
    assert here(before) >= {"uids", NAMES}
    after = mailbox.sync(files=True)
    assert here(after) == set()
    assert after.stored
    assert list(after.uids) == list(before.uids)
    assert list(after.names) == list(before.names)
    assert list(after.received) == list(before.received)
    assert (after.modseq, after.uidnext, after.uidvalidity) == (before.modseq, before.uidnext, before.uidvalidity)
    mailbox.set_flags([2], add=Flags(SEEN))
    assert mailbox.snapshot.flags[1] & SEEN
