"""The watch thread: who is woken, by what, in both ways of watching. Waits end with the event, never by the clock."""

from __future__ import annotations

import errno
import os
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd import errors
from maildir_imapd.store import names, watch
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import filesystems, inotify
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.filename import SEEN
from maildir_imapd.store.maildir.flags import Flags
from maildir_imapd.store.names import Known
from maildir_imapd.store.records.acl import in_order
from maildir_imapd.store.threads.listeners import Listeners
from maildir_imapd.store.threads.syncing import SharedSync
from maildir_imapd.store.watch import Watcher

LONG = 20.0  # a test that waits so long has failed


@pytest.fixture(params=["inotify", "poll"])
def watcher(request: pytest.FixtureRequest) -> Iterator[Watcher]:
    found = Watcher(request.param, interval=0.02)
    yield found
    found.close()


def wait_for(box: Mailbox, woken: queue.Queue[int], number: int) -> None:
    """Return when the mailbox has so many messages."""
    while len(box.snapshot) != number:
        woken.get(timeout=LONG)


def demand_news(maildir: Any, box: Mailbox) -> queue.Queue[int]:
    """Whoever listens to an empty mailbox is woken by its first message; returns what wakes it."""
    woken: queue.Queue[int] = queue.Queue()
    box.listen(lambda: woken.put(1))
    maildir.put("1.h", where="new")
    wait_for(box, woken, 1)
    return woken


def test_a_delivery_wakes_all_who_listen(maildir: Any, watcher: Watcher) -> None:
    maildir.fill(1)
    box = maildir.open(watcher=watcher)
    woken: queue.Queue[int] = queue.Queue()
    listeners = [box.listen(lambda n=n: woken.put(n)) for n in range(3)]
    maildir.put("1800000000.h", where="new")
    assert {woken.get(timeout=LONG) for _ in range(3)} == {0, 1, 2}
    assert len(box.snapshot) == 2
    assert maildir.names("new") == []
    for listener in listeners:
        listener.close()


def test_what_other_processes_do_wakes_too(maildir: Any, watcher: Watcher) -> None:
    bases = maildir.fill(3)
    box, other = maildir.open(watcher=watcher), maildir.open()
    woken: queue.Queue[int] = queue.Queue()
    box.listen(lambda: woken.put(1))
    other.set_flags([1], add=Flags(SEEN))
    while not box.snapshot.flags[0] & SEEN:
        woken.get(timeout=LONG)
    other.expunge([1])
    wait_for(box, woken, 2)
    (maildir.path / "cur" / f"{bases[1]}:2,").unlink()
    wait_for(box, woken, 1)


def test_a_folder_that_goes_away_wakes_its_listeners(maildir: Any, watcher: Watcher) -> None:
    box = maildir.open(watcher=watcher)
    woken = threading.Event()
    box.listen(woken.set)
    maildir.path.rename(maildir.path.with_name("Other"))
    assert woken.wait(LONG)
    assert box.gone


def test_somebody_who_only_looks_leaves_new_alone(maildir: Any, watcher: Watcher) -> None:
    box = maildir.open(watcher=watcher)
    woken: queue.Queue[int] = queue.Queue()
    box.listen(lambda: woken.put(1), keep_new=True)
    maildir.put("1.h", where="new")
    wait_for(box, woken, 1)
    assert maildir.names("new") == ["1.h"]


def test_nobody_is_woken_after_closing(maildir: Any, watcher: Watcher) -> None:
    box = maildir.open(watcher=watcher)
    woken: queue.Queue[str] = queue.Queue()
    first = box.listen(lambda: woken.put("first"))
    box.listen(lambda: woken.put("second"))
    first.close()
    maildir.put("1.h", where="new")
    assert woken.get(timeout=LONG) == "second"
    assert woken.empty()
    box.close()
    assert watcher._boxes == {}
    assert watcher._watches == {}


def test_a_folder_that_was_left_is_watched_until_others_have_been(make_maildir: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(watch, "LINGERING", 1)
    watcher = Watcher("inotify")
    first, second = (make_maildir(name).open(watcher=watcher) for name in ("First", "Second"))
    woken: queue.Queue[int] = queue.Queue()
    first.listen(lambda: None).close()
    numbers = set(watcher._watches)
    listener = first.listen(lambda: woken.put(1))
    assert set(watcher._watches) == numbers
    os.close(os.open(first.path + b"/new/1.h", os.O_CREAT))
    wait_for(first, woken, 1)
    listener.close()
    second.listen(lambda: None).close()
    assert list(watcher._boxes.values()) == [second]
    second.close()
    assert watcher._boxes == {}
    assert watcher._watches == {}
    watcher.close()


def test_a_hidden_change_is_looked_for_by_itself(maildir: Any, watcher: Watcher, monkeypatch: Any) -> None:
    bases = maildir.fill(2)
    monkeypatch.setattr(Mailbox, "recheck", lambda self: 0.01)
    box = maildir.open(watcher=watcher)
    synced: queue.Queue[int] = queue.Queue()
    true = Mailbox.sync
    monkeypatch.setattr(Mailbox, "sync", lambda self, **how: (true(self, **how), synced.put(1))[0])
    box.listen(lambda: None)
    for _ in range(3):
        synced.get(timeout=LONG)
    assert len(bases) == len(box.snapshot)


def test_lost_events_mean_looking_everywhere(maildir: Any, monkeypatch: Any) -> None:
    watcher = Watcher("inotify")
    box = maildir.open(watcher=watcher)
    woken: queue.Queue[int] = queue.Queue()
    true = inotify.Inotify.read
    monkeypatch.setattr(inotify.Inotify, "read", lambda self: (set(), set(), bool(true(self)[0])))
    box.listen(lambda: woken.put(1))
    maildir.put("1.h", where="new")
    wait_for(box, woken, 1)
    watcher.close()


def test_without_a_watch_to_spare_it_polls(maildir: Any, monkeypatch: Any) -> None:
    def refuse(self: object, path: bytes, mask: int) -> int:
        raise OSError(errno.ENOSPC, "no watches left")

    monkeypatch.setattr(inotify.Inotify, "watch", refuse)
    watcher = Watcher("auto", interval=0.01)
    box = maildir.open(watcher=watcher)
    demand_news(maildir, box)
    watcher.close()


def deafen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let inotify have no events, as where the kernel does not see who makes them."""
    monkeypatch.setattr(inotify.Inotify, "read", lambda self: (set(), set(), False))


def test_on_a_deaf_file_system_auto_polls_too(
    maildir: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    deafen(monkeypatch)
    monkeypatch.setattr(filesystems, "deaf", lambda path: "some")
    watcher = Watcher("auto", interval=0.02)
    first, second = maildir.open(watcher=watcher), maildir.open(watcher=watcher)
    second.listen(lambda: None)
    demand_news(maildir, first)
    watcher.close()
    assert caplog.text.count("polling, for inotify does not hear all of this file system kind=some") == 1


def test_who_listens_hears_in_the_end_though_it_is_deaf(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    deafen(monkeypatch)
    monkeypatch.setattr(watch, "LOOK_ANYWAY_SECONDS", 0.02)
    watcher = Watcher("inotify", interval=1000)
    demand_news(maildir, maildir.open(watcher=watcher))
    watcher.close()


def test_a_folder_that_nobody_listens_to_is_not_looked_at(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "LOOK_ANYWAY_SECONDS", 0.001)
    watcher = Watcher("inotify", interval=1000)
    box = maildir.open(watcher=watcher)
    listener = box.listen(lambda: None)
    looked: queue.Queue[int] = queue.Queue()
    refresh = box.refresh
    monkeypatch.setattr(box, "refresh", lambda: (looked.put(1), refresh())[1])
    looked.get(timeout=LONG)
    listener.close()
    with watcher._guard:
        watcher._due.pop(id(box), None)
    # One look may be under way; it does not ask for another.
    other = maildir.open(watcher=watcher)
    heard: queue.Queue[int] = queue.Queue()
    other.listen(lambda: None)
    monkeypatch.setattr(other, "refresh", lambda: heard.put(1))
    for _ in range(20):
        heard.get(timeout=LONG)
    assert looked.qsize() <= 2
    watcher.close()


def test_the_kind_of_a_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number = int(subprocess.run(["stat", "-f", "-c", "%t", tmp_path], capture_output=True, check=True).stdout, 16)
    monkeypatch.setattr(filesystems, "_DEAF", {number: "this"})
    assert filesystems.deaf(bytes(tmp_path)) == "this"
    assert filesystems.deaf(b"/proc") is None
    assert filesystems.deaf(b"/nowhere") is None


def test_without_inotify_auto_polls_and_inotify_refuses(maildir: Any, monkeypatch: Any) -> None:
    def refuse(self: object, name: bytes) -> None:
        raise OSError(errno.EMFILE, "too many instances")

    monkeypatch.setattr(inotify.Inotify, "__init__", refuse)
    with pytest.raises(errors.ConfigError):
        Watcher("inotify")
    watcher = Watcher("auto", interval=0.01)
    box = maildir.open(watcher=watcher)
    demand_news(maildir, box)
    watcher.close()
    watcher.close()


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(make_maildir: Any, monkeypatch: Any) -> None:
    good, bad = make_maildir("Good"), make_maildir("Bad")
    watcher = Watcher("poll", interval=0.01)
    box, broken = good.open(watcher=watcher), bad.open(watcher=watcher)
    true = Mailbox.sync
    raised: queue.Queue[int] = queue.Queue()

    def sync(self: Mailbox, **how: bool) -> object:
        if self is broken:
            raised.put(1)
            raise (errors.SpoolUnreadable(detail="x") if raised.qsize() % 2 else ValueError("bug"))
        return true(self, **how)

    monkeypatch.setattr(Mailbox, "sync", sync)
    woken: queue.Queue[int] = queue.Queue()
    broken.listen(lambda: None)
    box.listen(lambda: woken.put(1))
    for _ in range(2):
        raised.get(timeout=LONG)
    good.put("1.h", where="new")
    wait_for(box, woken, 1)
    watcher.close()


def test_the_bell_is_eight_bytes_in_the_lock_file(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open()
    box.set_flags([1], add=Flags(SEEN))
    data = (maildir.path / "maildir-imapd.lock").read_bytes()
    assert int.from_bytes(data[:8], "little") == box.snapshot.modseq == 2


# --- one fsync for many -----------------------------------------------------------------------------


def test_one_sync_serves_all_who_came_before_it() -> None:
    running, go_on = threading.Event(), threading.Event()
    runs: list[int] = []

    def action() -> None:
        runs.append(1)
        running.set()
        assert go_on.wait(LONG)

    shared = SharedSync(action)
    first = threading.Thread(target=shared.wait)
    first.start()
    assert running.wait(LONG)
    others = [threading.Thread(target=shared.wait) for _ in range(5)]
    for thread in others:
        thread.start()
    go_on.set()
    for thread in [first, *others]:
        thread.join(LONG)
    # Those who came during the first run share later ones; how many, the scheduler decides.
    assert 1 < len(runs) <= 6


def test_an_error_of_a_shared_sync_reaches_whoever_relied_on_it() -> None:
    def action() -> None:
        raise OSError(errno.EIO, "bad disk")

    shared = SharedSync(action)
    for _ in range(3):
        with pytest.raises(OSError, match="bad disk"):
            shared.wait()
    assert os.strerror(errno.EIO)


def test_who_is_stopped_while_syncing_has_synced_nothing() -> None:
    running, go_on = threading.Event(), threading.Event()
    ends: list[type[BaseException]] = [SystemExit]

    def action() -> None:
        running.set()
        assert go_on.wait(LONG)
        if ends:
            raise ends.pop()

    shared = SharedSync(action)
    told: list[str] = []

    def wait(name: str) -> None:
        try:
            shared.wait()
            told.append(name)
        except BaseException as error:
            told.append(type(error).__name__)

    first = threading.Thread(target=wait, args=("first",))
    first.start()
    assert running.wait(LONG)
    second = threading.Thread(target=wait, args=("second",))
    second.start()
    go_on.set()
    first.join(LONG)
    second.join(LONG)
    assert sorted(told) == ["SystemExit", "second"]


def test_modes() -> None:
    assert watch.MODES == ("auto", "inotify", "poll")


def rights_of(account: Account, name: str) -> str:
    acl = account.names.known.rights.get(name)
    return "" if acl is None else in_order(acl.rights("ann", frozenset(), owner=True))


def test_a_list_of_rights_that_is_edited_by_hand_wakes(tmp_path: Path, watcher: Watcher) -> None:
    account = Account(bytes(tmp_path / "Maildir"), fsync="never", watcher=watcher)
    account.create("Work")
    woken: queue.Queue[int] = queue.Queue()
    listener = account.names.listen(lambda: woken.put(1))
    account.names.look()
    file = tmp_path / "Maildir" / ".Work" / "dovecot-acl"
    # Of one length, within the clock's grain, under one inode: only what it says differs.
    for rights in ("lr", "lk", "la"):
        file.write_text(f"owner {rights}\n")
        while rights_of(account, "Work") != rights:
            woken.get(timeout=LONG)
    listener.close()


def test_other_files_of_a_folder_wake_nobody_who_waits_for_names(tmp_path: Path) -> None:
    """A folder has much else in it, which is written all the time."""
    path = bytes(tmp_path)
    watched = inotify.Inotify(b"dovecot-acl")
    number = watched.watch(path, inotify.RIGHTS)
    (tmp_path / "journal").write_text("x")
    (tmp_path / "dovecot-acl.lock").write_text("x")
    assert watched.read() == (set(), set(), False)
    (tmp_path / "dovecot-acl.lock").rename(tmp_path / "dovecot-acl")
    assert watched.read() == ({number}, set(), False)
    # Where folders come and go every name counts, but not what is written into files.
    assert watched.watch(path, inotify.DIRECTORY) == number
    (tmp_path / "journal").write_text("y")
    assert watched.read() == (set(), set(), False)
    (tmp_path / ".Folder").mkdir()
    assert watched.read() == ({number}, set(), False)
    watched.close()


def test_a_watch_whose_directory_goes_is_forgotten(tmp_path: Path) -> None:
    """Folders that come and go under one who listens for names must not leave anything behind."""
    watcher = Watcher("inotify")
    account = Account(os.fsencode(tmp_path / "Maildir"), watcher=watcher, fsync="never")
    woken: queue.Queue[int] = queue.Queue()
    account.names.listen(lambda: woken.put(1))

    def until(there: bool) -> None:
        while ("Fleeting" in account.names.known.mailboxes) != there:
            woken.get(timeout=LONG)

    try:
        for _ in range(3):
            account.create("Fleeting")
            until(there=True)
            account.delete("Fleeting")
            until(there=False)
        account.create("Stays")
        while "Stays" not in account.names.known.mailboxes:
            woken.get(timeout=LONG)
        # What has ended by itself is told before what came later.
        alive = {int(line.split()[1].partition(":")[2], 16) for line in _watches_of(watcher)}
        assert set(watcher._watches) <= alive
    finally:
        watcher.close()


def _watches_of(watcher: Watcher) -> list[str]:
    assert watcher._inotify is not None
    text = Path(f"/proc/self/fdinfo/{watcher._inotify.fileno()}").read_text()
    return [line for line in text.splitlines() if line.startswith("inotify wd:")]


def test_a_folder_that_is_whole_just_after_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found half made, and whole before it is watched: it must not be taken for one that has been told."""
    watcher = Watcher("inotify")
    account = Account(bytes(tmp_path), fsync="never", watcher=watcher)
    half, whole = bytes(tmp_path / ".New"), threading.Event()
    known = account.known

    def look() -> names.Known:
        found = known()
        if half in found.directories and not whole.is_set():
            os.mkdir(half + b"/cur")
            whole.set()
        return found

    monkeypatch.setattr(account, "known", look)
    woken: queue.Queue[int] = queue.Queue()
    account.names.listen(lambda: woken.put(1))
    account.names.look()
    os.mkdir(half)
    assert whole.wait(LONG)
    while "New" not in account.names.known.mailboxes:
        woken.get(timeout=LONG)
    watcher.close()


def test_whoever_listens_while_the_last_one_leaves_is_watched(tmp_path: Path) -> None:
    watcher = Watcher("inotify")
    account = Account(bytes(tmp_path), fsync="never", watcher=watcher)
    woken: queue.Queue[int] = queue.Queue()
    account.names.listen(lambda: woken.put(1))
    account.names.look()
    # What the last one does when it has gone, late.
    account.names._unheard()
    (tmp_path / ".New" / "cur").mkdir(parents=True)
    while "New" not in account.names.known.mailboxes:
        woken.get(timeout=LONG)
    watcher.close()


def test_names_that_take_long_to_look_at_leave_the_watch_thread_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = Account(bytes(tmp_path), fsync="never")
    looks = []
    known = account.known

    def look() -> Known:
        looks.append(1)
        return known()

    monkeypatch.setattr(account, "known", look)
    spent = iter([0.0, 1000.0, 2000.0, 2000.0])
    monkeypatch.setattr(names.time, "thread_time", lambda: next(spent))
    assert account.names.refresh() is None
    again = account.names.refresh()
    assert again is not None
    assert 1000 < again <= 4000
    assert len(looks) == 1
    # Who asks, or has changed something, sees what there is.
    account.names.look()
    assert len(looks) == 2
    monkeypatch.setattr(names.time, "monotonic", lambda: 10.0**9)
    assert account.names.refresh() is None
    assert len(looks) == 3


def test_who_comes_second_hears_what_happened_while_the_first_began(tmp_path: Path) -> None:
    account = Account(bytes(tmp_path), fsync="never")
    account.names.listen(lambda: None)
    woken: list[int] = []
    account.names.listen(lambda: woken.append(1))
    assert "New" not in account.names.known.mailboxes
    woken.clear()
    (tmp_path / ".New" / "cur").mkdir(parents=True)
    # The first says only now that it listens, and what was known is forgotten with that.
    account.names._heard()
    assert "New" in account.names.look().mailboxes
    assert woken


# --- the thread goes on, and waits for nobody -------------------------------------------------------


class Folder:
    """In the place of a mailbox: what its look says is the test's."""

    grows = False

    def __init__(self, path: bytes, look: Callable[[], float | None]) -> None:
        self.path = path
        self.listened = True
        self.refresh = look

    def watches(self) -> Sequence[tuple[bytes, int]]:
        return [(self.path, inotify.DIRECTORY)]

    def looking(self) -> AbstractContextManager[None]:
        return nullcontext()


class Clock:
    """The watcher's clock, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(watch.time, "monotonic", lambda: self.now)


@pytest.mark.parametrize("error", [OSError(errno.ENOMEM, "no memory"), MemoryError(), ValueError("a bug")])
def test_an_error_ends_no_watching(maildir: Any, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """And what happened while nobody read events is found all the same."""
    true, failed = inotify.Inotify.read, threading.Event()

    def read(self: inotify.Inotify) -> tuple[set[int], set[int], bool]:
        found = true(self)
        if found[0] and not failed.is_set():
            failed.set()
            raise error
        return found

    monkeypatch.setattr(inotify.Inotify, "read", read)
    watcher = Watcher("inotify")
    box = maildir.open(watcher=watcher)
    woken = demand_news(maildir, box)
    assert failed.wait(LONG), "the first look may have found it before the event was read"
    maildir.put("2.h", where="new")
    wait_for(box, woken, 2)
    watcher.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_is_begun_again(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = Watcher("inotify")
    box = maildir.open(watcher=watcher)
    ends = [SystemExit]
    true = inotify.Inotify.read

    def read(self: inotify.Inotify) -> tuple[set[int], set[int], bool]:
        if ends:
            raise ends.pop()
        return true(self)

    monkeypatch.setattr(inotify.Inotify, "read", read)
    woken: queue.Queue[int] = queue.Queue()
    box.listen(lambda: woken.put(1))
    watcher._thread.join()
    maildir.put("1.h", where="new")
    watcher.start()
    wait_for(box, woken, 1)
    watcher.close()


def test_without_a_thread_to_spare_the_mailbox_opens_all_the_same(
    maildir: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher("inotify")
    box = maildir.open(watcher=watcher)
    with monkeypatch.context() as patch:

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        woken: queue.Queue[int] = queue.Queue()
        box.listen(lambda: woken.put(1))
    watcher.start()
    maildir.put("1.h", where="new")
    wait_for(box, woken, 1)
    watcher.close()


def test_an_idle_watch_thread_has_a_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.001)
    beats: queue.Queue[int] = queue.Queue()
    watcher = Watcher("inotify", beat=lambda: beats.put(1))
    watcher.start()
    for _ in range(20):
        beats.get(timeout=LONG)
    watcher.close()


@pytest.mark.long
def test_a_folder_that_somebody_holds_keeps_no_news_from_others(
    tmp_path: Path, maildir: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "COME_BACK_SECONDS", 0.001)
    tries: queue.Queue[int] = queue.Queue()
    held = threading.Event()
    held.set()
    done = threading.Event()

    def look() -> float | None:
        tries.put(1)
        if held.is_set():
            raise errors.LockTimeout(detail="Held")
        done.set()
        return None

    watcher = Watcher("inotify")
    watcher.add(Folder(bytes(tmp_path), look))
    for _ in range(3):
        tries.get(timeout=LONG)  # it comes back by itself
    box = maildir.open(watcher=watcher)
    demand_news(maildir, box)
    held.clear()
    assert done.wait(LONG)
    watcher.close()


def test_who_is_held_is_come_back_to_ever_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    held = [True]

    def look() -> float | None:
        if held[0]:
            raise errors.LockTimeout(detail="/some/folder")
        return None

    watcher = Watcher("poll")
    monkeypatch.setattr(watcher._thread, "start", lambda: None)
    folder = Folder(bytes(tmp_path), look)
    watcher.add(folder)
    key = id(folder)
    pauses = []
    watcher._look(key)
    for _ in range(12):
        pauses.append(round(watcher._due[key] - clock.now, 3))
        # What happens in it meanwhile has it tried at once, and later no less soon.
        clock.now += pauses[-1] / 2
        before = watcher._due[key]
        watcher._look(key)
        assert watcher._due[key] == before
        clock.now = before
        watcher._look(key)
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, *[5.0] * 7]
    assert [record.levelname for record in caplog.records if "held by somebody" in record.message].count("WARNING") == 1
    assert "/some/folder" in caplog.text
    held[0] = False
    watcher._look(key)
    assert watcher._due[key] - clock.now == watch.LOOK_ANYWAY_SECONDS
    held[0] = True
    watcher._look(key)
    assert round(watcher._due[key] - clock.now, 3) == 0.2
    watcher.remove(folder)
    assert watcher._held == {}
    watcher.close()


def test_folders_that_are_always_due_starve_nobody(make_maildir: Any, tmp_path: Path) -> None:
    """Neither whoever has news, nor one another."""
    looks: list[queue.Queue[int]] = [queue.Queue() for _ in range(3)]

    def look(number: int) -> float:
        looks[number].put(1)
        return 0.0

    watcher = Watcher("inotify")
    maildir = make_maildir("Box")
    box = maildir.open(watcher=watcher)
    woken: queue.Queue[int] = queue.Queue()
    box.listen(lambda: woken.put(1))
    for number in range(3):
        path = tmp_path / str(number)
        path.mkdir()
        watcher.add(Folder(bytes(path), lambda number=number: look(number)))
    for count in range(1, 4):
        maildir.put(f"{count}.h", where="new")
        wait_for(box, woken, count)
        for found in looks:
            found.get(timeout=LONG)
    watcher.close()


def test_news_come_before_what_is_only_due(make_maildir: Any, tmp_path: Path) -> None:
    """Many folders to be looked at again, and one delivery: it waits for one of them at the most."""
    watcher = Watcher("inotify")
    order: queue.Queue[str] = queue.Queue()
    path = tmp_path / "news"
    path.mkdir()

    def due(number: int) -> None:
        if number == 0:
            (path / "delivered").touch()
        order.put("due")

    watcher.add(Folder(bytes(path), lambda: order.put("news")))
    assert order.get(timeout=LONG) == "news"  # the first look at it
    folders = [Folder(bytes(tmp_path), lambda number=number: due(number)) for number in range(10)]
    with watcher._guard:  # all of them at once
        for folder in folders:
            watcher._boxes[id(folder)] = folder
            watcher._due[id(folder)] = 0.0
    watcher._bell.ring()
    assert [order.get(timeout=LONG) for _ in range(11)] == ["due", "news", *["due"] * 9]
    watcher.close()


def test_names_wait_for_nobody_who_looks(tmp_path: Path) -> None:
    account = Account(bytes(tmp_path), fsync="never")
    woken: list[int] = []
    account.names.listen(lambda: woken.append(1))
    account.names.look()
    woken.clear()
    (tmp_path / ".New" / "cur").mkdir(parents=True)
    with account.names._looking:
        assert account.names.refresh() == names._SOON_SECONDS
    assert not woken
    assert account.names.refresh() is None
    assert woken
    assert "New" in account.names.known.mailboxes


def test_a_listener_that_fails_keeps_no_other_asleep(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise MemoryError

    listeners = Listeners()
    woken: list[int] = []
    listeners.add(fail)
    listeners.add(lambda: woken.append(1))
    listeners.wake()
    assert woken == [1]
    assert "listener failed" in caplog.text


def test_who_is_at_work_is_left_at_it(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look costs whoever holds a folder time: ten thousand renames are one look, and nothing of them is missed."""
    base = os.fsencode(maildir.fill(3)[0])
    watcher = Watcher("inotify")
    monkeypatch.setattr(watcher._thread, "start", lambda: None)
    clock = Clock(monkeypatch)
    box = maildir.open(watcher=watcher)
    box.listen(lambda: None)
    later: dict[int, None] = {}
    watcher._collect(clock.now, later)
    watcher._look(id(box))
    cur = box.path + b"/cur"
    first = base + b":2,"
    tried = []
    true = box.refresh

    def refresh() -> float | None:
        tried.append(clock.now)
        return true()

    monkeypatch.setattr(box, "refresh", refresh)

    def turn() -> None:
        for key in {*watcher._collect(clock.now, later), *later}:
            watcher._look(key)
        later.clear()

    with box._folder.exclusive():
        for flags in (b"F", b"FS", b"S", b"RS") * 5:
            then, first = first, base + b":2," + flags
            os.rename(cur + b"/" + then, cur + b"/" + first)
            turn()
        assert len(tried) == 1
        clock.now += watch.AT_WORK_SECONDS
        turn()
        assert len(tried) == 2
    os.rename(cur + b"/" + first, cur + b"/" + base + b":2,F")
    turn()
    assert len(tried) == 2
    clock.now += watch.AT_WORK_SECONDS
    turn()
    assert len(tried) == 3
    assert b"\\Flagged" in box.snapshot.flag_names(box.snapshot.flags[0])
    os.rename(cur + b"/" + base + b":2,F", cur + b"/" + base + b":2,T")
    turn()
    assert len(tried) == 4, "nobody is at work: what happens is looked at as it does"
    assert b"\\Deleted" in box.snapshot.flag_names(box.snapshot.flags[0])
    watcher.close()


def test_lost_events_have_all_watches_set_again(maildir: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    maildir.fill(1)
    watcher = Watcher("inotify")
    monkeypatch.setattr(watcher._thread, "start", lambda: None)
    box = maildir.open(watcher=watcher)
    box.listen(lambda: None)
    key = id(box)
    later: dict[int, None] = {}
    watcher._collect(watch.time.monotonic(), later)
    watcher._look(key)
    maildir.put("1900000000.M1P1.h", where="new")
    true = inotify.Inotify.read

    def read(self: inotify.Inotify) -> tuple[set[int], set[int], bool]:
        true(self)
        return set(), set(), True

    with monkeypatch.context() as lossy:
        lossy.setattr(inotify.Inotify, "read", read)
        assert watcher._collect(watch.time.monotonic(), later) == set()
    assert key in later
    watcher._look(key)
    assert len(box.snapshot) == 2
    watcher._collect(watch.time.monotonic(), {})
    watcher._look(key)
    maildir.put("1900000001.M1P1.h", where="new")
    assert key in watcher._collect(watch.time.monotonic(), {})
    watcher.close()


class Odd:
    """A watched thing that goes wrong as *errors* say, one after the other; then it is well."""

    grows = False
    listened = True

    def __init__(self, path: bytes, *errors: Exception) -> None:
        self.path = path
        self.errors = list(errors)
        self.looks = 0
        self.well = threading.Event()

    def watches(self) -> list[tuple[bytes, int]]:
        return []

    def looking(self) -> AbstractContextManager[None]:
        return nullcontext()

    def refresh(self) -> float | None:
        self.looks += 1
        if self.errors:
            raise self.errors.pop(0)
        self.well.set()
        return None


def test_whatever_goes_wrong_with_one_it_is_looked_at_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = errors.SpoolGone(detail="unmounted")
    odd = Odd(bytes(tmp_path), gone, gone, RuntimeError("a fault"), errors.StoreError(detail="unreadable"))
    watcher = Watcher("poll", interval=0.01)
    try:
        watcher.add(odd)
        assert odd.well.wait(60)
        assert odd.looks >= 5
        said = [record.message for record in caplog.records]
        # That it is away is said once.
        assert said.count("folder cannot be watched") == 2
        assert said.count("watching failed") == 1
        watcher.remove(odd)
        watcher.remove(odd)
    finally:
        watcher.close()
