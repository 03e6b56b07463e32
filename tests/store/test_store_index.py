"""The index: rotation under readers, torn tails, damage, a new boot, a full disk, a spool that is not ours."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from nobody import as_nobody

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.index import index, journal
from maildir_imapd.store.index.index import Index
from maildir_imapd.store.index.journal import Batch
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import FLAGGED, SEEN
from maildir_imapd.store.maildir.flags import Flags

COLUMNS = ("uids", "flags", "modseqs", "received", "saved", "sizes", "names", "keywords", "uidvalidity", "modseq")


def same(one: Mailbox, other: Mailbox) -> None:
    for column in COLUMNS:
        assert getattr(one.snapshot, column) == getattr(other.snapshot, column), column


def known(box: Mailbox) -> dict[bytes, int]:
    return dict(zip(box.snapshot.names, box.snapshot.uids, strict=True))


@pytest.fixture
def small_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "ROTATE_OCTETS", 300)


# --- rotation ---------------------------------------------------------------------------------------


def test_readers_follow_through_rotations(maildir: Any, small_journals: None) -> None:
    maildir.fill(6)
    box, reader, sleeper = maildir.open(), maildir.open(), maildir.open()
    for n in range(40):
        box.set_flags([1 + n % 6], add=Flags(SEEN if n % 2 else FLAGGED))
        box.set_flags([1 + n % 6], remove=Flags(SEEN | FLAGGED))
        reader.sync()
        same(reader, box)
        if n % 5 == 0:
            reader.set_flags([6], add=Flags(FLAGGED))
            box.sync()
    assert box._folder.index.state.generation > 5
    sleeper.sync()  # missed many generations
    same(sleeper, box)
    same(maildir.open(), box)
    assert reader.since(box.snapshot.modseq - 3) is not None
    assert (maildir.path / "maildir-imapd.index.old").exists()


def test_a_rotation_that_dies_between_its_renames(maildir: Any, small_journals: None) -> None:
    maildir.fill(3)
    box, reader = maildir.open(), maildir.open()

    def die(action: str, what: object) -> None:
        if action == "replace" and what == index.JOURNAL:
            raise OSError(errno.EIO, "dead")

    durable.step = die
    for _ in range(10):
        box.set_flags([1], add=Flags(SEEN))
        box.set_flags([1], remove=Flags(SEEN))
    durable.step = None
    assert box._folder.index.state.generation == 1
    reader.sync()
    same(reader, box)
    fresh = maildir.open()
    same(fresh, box)
    fresh.set_flags([2], add=Flags(SEEN))
    for each in (box, reader):
        each.sync()
        same(each, fresh)


# --- torn tails -------------------------------------------------------------------------------------


def test_half_a_batch_is_nobodys_and_is_cut_under_the_lock(maildir: Any) -> None:
    maildir.fill(3)
    box, reader = maildir.open(), maildir.open()
    box.set_flags([1], add=Flags(SEEN))
    path = maildir.path / "maildir-imapd.journal"
    whole = path.read_bytes()
    torn = journal.render(Batch(modseq=9, uidnext=4, expunged=[(1, 3)]))[:-5]
    path.write_bytes(whole + torn)
    assert list(reader.sync().uids) == [1, 2, 3]
    assert path.read_bytes() == whole
    path.write_bytes(whole + torn)
    fresh = maildir.open()
    assert path.read_bytes() == whole + torn, "without the lock nothing is cut: the writer may be alive"
    box.set_flags([2], add=Flags(SEEN))
    assert path.read_bytes().startswith(whole)
    assert torn not in path.read_bytes()
    for each in (reader, fresh):
        each.sync()
        same(each, box)
    assert not list(maildir.path.glob("*.damaged"))


# --- damage -----------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)


def age(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[bytes, int], int, int]:
    """Let a folder have a past: two checkpoints and a journal; returns what clients know of it."""
    maildir.fill(4)
    box = maildir.open()
    maildir.deliver(box)
    box._folder.index.rotate()
    maildir.deliver(box)
    gone = maildir.deliver(box)
    box._folder.index.rotate()
    box.set_flags([1], add=Flags(SEEN))
    maildir.deliver(box)
    box.expunge([2, gone])
    maildir.deliver(box)
    return known(box), box.snapshot.uidvalidity, box.snapshot.modseq


def check_promises(maildir: Any, before: tuple[dict[bytes, int], int, int], *, same_validity: bool) -> Mailbox:
    """Same UIDVALIDITY: no UID on another message, UIDs above all that were given. Else a higher one."""
    names, validity, modseq = before
    box: Mailbox = maildir.open()
    box.sync()
    after = known(box)
    assert {name.partition(":")[0] for name in maildir.names()} == {os.fsdecode(base) for base in after}
    if same_validity:
        assert box.snapshot.uidvalidity == validity
        owner = {uid: name for name, uid in names.items()}
        for name, uid in after.items():
            assert uid not in (2, 7), "the expunged"
            assert owner.get(uid, name) == name
            assert uid > max(names.values()) or names.get(name) == uid
    else:
        assert box.snapshot.uidvalidity > validity
    assert box.snapshot.modseq > modseq
    assert min(box.snapshot.modseqs) > modseq, "whoever knew a later moment must ask for all of it"
    assert box.vanished_since(modseq) is None
    assert maildir.deliver(box) == box.snapshot.uidnext - 1
    assert box.snapshot.uids[-1] > max(names.values()) or not same_validity
    same(maildir.open(), box)
    return box


@pytest.mark.parametrize("at", [3, 60, 150, 250, -150, -3])
def test_damage_in_the_journal(maildir: Any, monkeypatch: Any, caplog: Any, at: int) -> None:
    before = age(maildir, monkeypatch)
    flip(maildir.path / "maildir-imapd.journal", at)
    with caplog.at_level(logging.ERROR):
        check_promises(maildir, before, same_validity=True)
    assert len(caplog.records) == 1
    assert "index damaged" in caplog.text
    assert (maildir.path / "maildir-imapd.journal.damaged").exists()


def test_damage_while_the_folder_is_open(maildir: Any, monkeypatch: Any) -> None:
    before = age(maildir, monkeypatch)
    box = maildir.open()
    path = maildir.path / "maildir-imapd.journal"
    path.write_bytes(path.read_bytes()[:100])
    box.sync()
    assert known(box).items() <= known(check_promises(maildir, before, same_validity=True)).items()


def test_a_damaged_checkpoint_is_rebuilt_from_the_old_one(maildir: Any, monkeypatch: Any, caplog: Any) -> None:
    before = age(maildir, monkeypatch)
    flip(maildir.path / "maildir-imapd.index", 80)
    box = check_promises(maildir, before, same_validity=True)
    assert known(box)[b"1700000000.M1P1.host"] == 1
    assert (maildir.path / "maildir-imapd.index.damaged").exists()


@pytest.mark.parametrize("lost", ["maildir-imapd.journal", "maildir-imapd.index"])
def test_a_lost_file(maildir: Any, monkeypatch: Any, lost: str) -> None:
    before = age(maildir, monkeypatch)
    (maildir.path / lost).unlink()
    box = check_promises(maildir, before, same_validity=True)
    assert known(box)[b"1700000000.M1P1.host"] == 1


def test_without_any_checkpoint_uidvalidity_changes(maildir: Any, monkeypatch: Any) -> None:
    before = age(maildir, monkeypatch)
    flip(maildir.path / "maildir-imapd.index", 80)
    flip(maildir.path / "maildir-imapd.index.old", 80)
    check_promises(maildir, before, same_validity=False)


def test_without_a_trusted_uidnext_uidvalidity_changes(maildir: Any, monkeypatch: Any) -> None:
    before = age(maildir, monkeypatch)
    flip(maildir.path / "maildir-imapd.journal", 150)
    flip(maildir.path / "maildir-imapd.lock", 12)
    check_promises(maildir, before, same_validity=False)


def test_an_index_thrown_away_means_another_uidvalidity(maildir: Any) -> None:
    maildir.fill(2)
    first = maildir.open()
    for name in ("journal", "index"):
        (maildir.path / f"maildir-imapd.{name}").unlink()
    second = maildir.open()
    assert second.snapshot.uidvalidity > first.snapshot.uidvalidity
    assert list(second.snapshot.uids) == [1, 2]


def test_a_counter_that_stands_still_is_not_believed(maildir: Any) -> None:
    maildir.fill(1)
    first = maildir.open(uidvalidity=lambda: 77)
    assert first.snapshot.uidvalidity == 77
    for name in ("journal", "index"):
        (maildir.path / f"maildir-imapd.{name}").unlink()
    assert maildir.open(uidvalidity=lambda: 77).snapshot.uidvalidity == 78


def test_every_cut_of_the_journal_keeps_the_promises(make_maildir: Callable[[str], Any], monkeypatch: Any) -> None:
    template = make_maildir("Template")
    before = age(template, monkeypatch)
    data = (template.path / "maildir-imapd.journal").read_bytes()
    for cut in range(0, len(data), 23):
        copy = make_maildir(f"Copy{cut}")
        for source in [*template.path.glob("cur/*"), *template.path.glob("maildir-imapd.*")]:
            target = copy.path / source.relative_to(template.path)
            target.write_bytes(source.read_bytes())
        (copy.path / "maildir-imapd.journal").write_bytes(data[:cut])
        box = copy.open()
        box.sync()
        owner = {uid: name for name, uid in before[0].items()}
        for name, uid in known(box).items():
            if box.snapshot.uidvalidity == before[1]:
                # A cut tail alone cannot be told from a writer that died; the boot id covers a power failure.
                assert owner.get(uid, name) == name or cut > 0
        assert len(known(box)) == len(copy.names())
        copy.close()


def test_the_index_of_another_version_is_left_alone(maildir: Any) -> None:
    maildir.fill(2)
    maildir.open()
    path = maildir.path / "maildir-imapd.index"
    newer = path.read_bytes()[:-4].replace(b"index 3\n", b"index 4\n", 1)
    newer += zlib.crc32(newer).to_bytes(4, "little")
    path.write_bytes(newer)
    with pytest.raises(errors.IndexDamaged):
        maildir.open()
    assert path.read_bytes() == newer
    assert not list(maildir.path.glob("*.damaged"))


# --- a new boot -------------------------------------------------------------------------------------


def test_after_a_boot_uids_go_on_above_the_reserve(maildir: Any, monkeypatch: Any) -> None:
    maildir.fill(2)
    box = maildir.open()
    assert maildir.deliver(box) == 3
    monkeypatch.setattr(Index, "boot", b"another")
    fresh, second = maildir.open(), maildir.open()
    assert fresh.snapshot.uidnext == second.snapshot.uidnext == 1003
    fresh.set_flags([1], add=Flags(SEEN))
    second.sync()
    assert second.snapshot.uidnext == 1003
    assert maildir.deliver(second) == 1003
    assert maildir.deliver(fresh) == 1004
    monkeypatch.setattr(Index, "boot", b"another machine")
    third = maildir.open()
    assert third.snapshot.uidnext == 2004
    assert maildir.deliver(third) == 2004
    monkeypatch.setattr(Index, "boot", b"another")
    assert maildir.open().snapshot.uidnext == 2005, "a boot that is known costs nothing"


def test_the_reserve_is_raised_before_it_is_reached(maildir: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(index, "RESERVE", 3)
    box = maildir.open()
    for n in range(1, 12):
        assert maildir.deliver(box) == n
        state = box._folder.index.state
        assert state.reserve >= n
        assert box._folder.lock.reserve() == (box.snapshot.uidvalidity, state.reserve)


# --- no room ----------------------------------------------------------------------------------------


def full_disk(action: str, what: object) -> None:
    if action in ("write", "create", "truncate"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_still_reads_marks_and_deletes(maildir: Any) -> None:
    maildir.fill(4)
    box = maildir.open()
    durable.step = full_disk
    fresh = maildir.open()
    assert len(fresh.sync(look=True)) == 4
    assert fresh.read(1)
    assert fresh.set_flags([1, 2], add=Flags(SEEN)).changed == [1, 2]
    modseq = fresh.snapshot.modseq
    assert fresh.expunge([3]) == [3]
    assert list(fresh.snapshot.uids) == [1, 2, 4]
    assert len(maildir.names()) == 3
    item = fresh.deliver()
    item.write(b"x")
    assert isinstance(item.trouble, errors.DiskFull)
    with pytest.raises(errors.DiskFull):
        fresh.commit([(item, Flags(), 1)])
    with pytest.raises(errors.DiskFull):
        fresh.copy_from(fresh, [1])
    assert len(maildir.names()) == 3
    maildir.put("1900000000.h", where="new")
    assert len(fresh.sync()) == 3, "no UID on record, so not shown yet"
    durable.step = None
    assert list(fresh.sync().uids) == [1, 2, 4, 5]
    assert fresh.vanished_since(modseq) == [(3, 3)]
    same(maildir.open(), fresh)
    box.sync()
    same(box, fresh)


def test_others_may_find_room_first(maildir: Any) -> None:
    maildir.fill(4)
    box, other = maildir.open(), maildir.open()
    durable.step = full_disk
    box.set_flags([1], add=Flags(SEEN))
    box.expunge([2])
    box.set_flags([3], add=Flags(FLAGGED))
    told = box.snapshot.modseq
    durable.step = None
    other.set_flags([4], add=Flags(SEEN))
    box.sync()
    assert box.snapshot.modseq >= told
    assert list(box.snapshot.uids) == [1, 3, 4]
    assert [bits & (SEEN | FLAGGED) for bits in box.snapshot.flags] == [SEEN, FLAGGED, SEEN]
    other.sync()
    same(other, box)
    same(maildir.open(), box)
    box.set_flags([1], add=Flags(FLAGGED))
    assert box.snapshot.modseq > told


def test_first_contact_on_a_full_disk(maildir: Any) -> None:
    maildir.fill(3)
    durable.step = full_disk
    box = maildir.open()
    assert list(box.snapshot.uids) == [1, 2, 3]
    assert box.read(2)
    box.set_flags([1], add=Flags(SEEN))
    assert box.expunge([2]) == [2]
    assert list(box.sync(look=True).uids) == [1, 3]
    assert box.snapshot.modseq == 3
    assert box.claim_recent() == frozenset()
    assert not (maildir.path / "maildir-imapd.journal").exists()
    durable.step = None
    assert list(maildir.open().snapshot.uids) == [1, 2]


def test_a_full_disk_in_the_middle_of_a_delivery(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open()
    for point in range(1, 4):
        items = []
        for _ in range(3):
            item = box.deliver()
            item.write(b"x")
            items.append((item, Flags(), 1))
        left = [point]

        def fail(action: str, what: object, left: list[int] = left) -> None:
            if action == "rename":
                left[0] -= 1
            if left[0] == 0:
                left[0] = -100
                raise OSError(errno.EDQUOT, "quota")

        durable.step = fail
        with pytest.raises(errors.DiskFull) as caught:
            box.commit(items)
        durable.step = None
        assert os.fsdecode(maildir.path) in caught.value.detail
        assert maildir.names("tmp") == []
        assert len(maildir.names()) == 1
        assert len(box.sync(look=True)) == 1
    assert maildir.deliver(box) == 2


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EMFILE, errors.TooManyFiles),
        (errno.EACCES, errors.SpoolUnreadable),
        (errno.EIO, errors.StoreError),
        (errno.ENOSPC, errors.DiskFull),
    ],
)
def test_errors_name_the_path_in_their_detail(maildir: Any, number: int, kind: type[errors.StoreError]) -> None:
    maildir.fill(2)
    box = maildir.open()

    def fail(action: str, what: object) -> None:
        if action == "rename":
            raise OSError(number, os.strerror(number))

    durable.step = fail
    with pytest.raises(kind) as caught:
        box.set_flags([1], add=Flags(SEEN))
    assert type(caught.value) is kind
    assert os.fsdecode(maildir.path) in caught.value.detail
    durable.step = None
    assert box.set_flags([1], add=Flags(SEEN)).changed == [1]


def test_what_was_done_before_an_error_is_on_record(maildir: Any) -> None:
    maildir.fill(5)
    box = maildir.open()
    left = [3]

    def fail(action: str, what: object) -> None:
        if action in ("rename", "unlink"):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.EIO, "bad")

    durable.step = fail
    with pytest.raises(errors.StoreError):
        box.set_flags([1, 2, 3, 4], add=Flags(SEEN))
    assert [bool(bits & SEEN) for bits in box.snapshot.flags] == [True, True, False, False, False]
    left[0] = 2
    with pytest.raises(errors.StoreError):
        box.expunge([1, 2, 3])
    durable.step = None
    assert list(box.snapshot.uids) == [2, 3, 4, 5]
    same(maildir.open(), box)
    assert list(box.sync(look=True).uids) == [2, 3, 4, 5]


# --- not ours ---------------------------------------------------------------------------------------


@pytest.fixture
def spool() -> Any:
    """A Maildir below a directory that others may pass."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name) / "Box"
        for each in (path, path / "cur", path / "new", path / "tmp"):
            each.mkdir(mode=0o755)
        for n in range(3):
            (path / "cur" / f"{n + 1}.h:2,S").write_bytes(b"text\n")
        (path / "cur" / "8.h").write_bytes(b"text\n")
        (path / "new" / "9.h").write_bytes(b"text\n")
        yield path


def lock_away(path: Path) -> None:
    for each in [path, *path.rglob("*")]:
        os.chmod(each, 0o555 if each.is_dir() else 0o444)


def test_a_spool_that_is_not_ours_is_read(spool: Path) -> None:
    lock_away(spool)

    def work() -> None:
        box = Mailbox(os.fsencode(spool))
        assert box.read_only
        assert list(box.sync().uids) == [1, 2, 3, 4, 5]
        assert [box.read(uid) for uid in (1, 4, 5)] == [b"text\n"] * 3
        assert box.sizes(range(5)) == [6] * 5
        assert len(box.claim_recent()) == 1
        for refused in (
            lambda: box.set_flags([1], add=Flags(FLAGGED)),
            lambda: box.expunge([1]),
            box.deliver,
            lambda: box.copy_from(box, [1]),
        ):
            with pytest.raises(errors.ReadOnly):
                refused()
        assert list(box.sync(look=True).uids) == [1, 2, 3, 4, 5]
        box.cache.put_many(b"F", [(1, b"x")])
        assert box.cache.get_many([1], b"F") == [None]

    as_nobody(work)
    os.chmod(spool, 0o755)
    assert sorted(os.listdir(spool / "new")) == ["9.h"]


def test_a_spool_that_cannot_be_listed(spool: Path) -> None:
    Mailbox(os.fsencode(spool)).close()
    (spool / "cur").chmod(0o300)

    def work() -> None:
        box = Mailbox(os.fsencode(spool))
        with pytest.raises(errors.SpoolUnreadable) as caught:
            box.sync(look=True)
        assert os.fsdecode(os.fsencode(spool)) in caught.value.detail
        (spool / "cur").parent.stat()

    as_nobody(work)
    spool.chmod(0o700)

    def closed() -> None:
        with pytest.raises(errors.SpoolUnreadable):
            Mailbox(os.fsencode(spool))

    if os.getuid() == 0:
        as_nobody(closed)


def test_uids_of_an_index_stay_on_a_spool_that_is_not_ours(spool: Path) -> None:
    owner = Mailbox(os.fsencode(spool))
    owner.expunge([2])
    validity = owner.snapshot.uidvalidity
    os.rename(spool / "cur" / "3.h:2,S", spool / "cur" / "3.h:2,F")
    (spool / "new" / "10.h").write_bytes(b"more\n")
    lock_away(spool)

    def work() -> None:
        box = Mailbox(os.fsencode(spool))
        assert box.read_only
        assert list(box.sync().uids) == [1, 3, 4, 5, 6]
        assert box.snapshot.uidvalidity == validity
        assert box.snapshot.flags[1] == FLAGGED
        assert box.read(6) == b"more\n"
        assert box.read(3) == b"text\n"
        assert box.vanished_since(1) == [(2, 2)]

    as_nobody(work)
    os.chmod(spool, 0o755)
    for name in ("cur", "new", "tmp"):
        os.chmod(spool / name, 0o755)
    owner.close()


def test_memory_gives_way_to_what_is_on_record(maildir: Any) -> None:
    maildir.fill(2)
    owner = maildir.open()
    reader = maildir.open()
    reader._folder.index.writable = False
    maildir.put("1800000001.h", where="new")
    assert list(reader.sync().uids) == [1, 2, 3]
    assert maildir.names("new") == ["1800000001.h"]
    assert reader.read(3)
    owner.set_flags([1], add=Flags(SEEN))
    uid = maildir.deliver(owner)
    assert uid == 3
    owner.sync()
    reader.sync()
    assert known(reader) == known(owner)
    assert reader.read(3)
    assert reader.read(4)


# --- the lock ---------------------------------------------------------------------------------------


def test_a_busy_folder_is_a_time_out(maildir: Any) -> None:
    maildir.fill(1)
    box, other = maildir.open(), maildir.open(lock_timeout=0.01)
    with ThreadPoolExecutor(1) as elsewhere, box._folder.exclusive():
        assert len(elsewhere.submit(other.sync, look=True).result()) == 1, "reading goes on"
        with pytest.raises(errors.LockTimeout):
            elsewhere.submit(other.set_flags, [1], add=SEEN).result()
    assert other.set_flags([1], add=Flags(SEEN)).changed == [1]


def test_a_lock_file_that_was_removed_is_made_anew(maildir: Any) -> None:
    maildir.fill(1)
    box, other = maildir.open(), maildir.open(lock_timeout=0.01)
    box.set_flags([1], add=Flags(SEEN))
    (maildir.path / "maildir-imapd.lock").unlink()
    with ThreadPoolExecutor(1) as elsewhere, box._folder.exclusive(), pytest.raises(errors.LockTimeout):
        elsewhere.submit(other.set_flags, [1], add=FLAGGED).result()
    other.set_flags([1], add=Flags(FLAGGED))
    box.sync()
    same(box, other)
