"""Threads that act as somebody else."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest
from running import open_to_all

from maildir_imapd.server import owners
from maildir_imapd.server.owners import Owner
from maildir_imapd.store.watch import Watcher

needs_root = pytest.mark.skipif(not owners.supported(), reason="only root can act as others")


@needs_root
def test_a_thread_acts_as_another(tmp_path: Path) -> None:
    """In a thread of its own, and no other thread notices."""
    who = owners.owner(54321, 54322)
    seen: list[object] = []
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    open_to_all(tmp_path)

    def work() -> None:
        before = owners.current()
        with owners.acting_as(who):
            seen.append(owners.current())
            (shared / "made").touch()
            try:
                secret.read_text()
            except PermissionError:
                seen.append("refused")
            with owners.acting_as(owners.owner(54400, 54400)):
                seen.append(owners.current().uid)
            seen.append(owners.current())
        seen.append(owners.current() == before)
        owners.become(who)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [who, "refused", 54400, who, True]
    made = (shared / "made").stat()
    assert (made.st_uid, made.st_gid) == (54321, 54322)
    assert owners.current() == owners.own()
    assert secret.read_text() == "x"


def test_the_watcher_of_an_owner_does_all_that_a_watcher_does() -> None:
    """Mailboxes do not know that theirs is another one."""
    from maildir_imapd.store.watch import Watcher

    of_the_process = {"start", "close", "idle", "drop", "hint"}
    asked = {name for name in vars(Watcher) if not name.startswith("_")} - of_the_process
    assert asked <= set(vars(owners.OwnedWatcher))


@needs_root
def test_the_watch_thread_looks_as_the_owner() -> None:
    """Whoever's thread began it, and in between it is nobody in particular."""
    from maildir_imapd.store.watch import Watcher

    who = owners.owner(54321, 54322)
    looked = threading.Event()
    seen: list[owners.Owner] = []

    class Folder:
        path = b"/nowhere"
        grows = True
        listened = True

        def watches(self) -> list[tuple[bytes, int]]:
            seen.append(owners.current())
            return []

        def looking(self) -> AbstractContextManager[None]:
            return nullcontext()

        def refresh(self) -> float | None:
            seen.append(owners.current())
            looked.set()
            return None

    watcher = Watcher()
    folder = Folder()
    try:
        owners.OwnedWatcher(watcher, who).add(folder)
        assert looked.wait(30)
    finally:
        watcher.close()
    # First by the thread that asked, which is the owner already in the server; then by the watch thread.
    assert seen == [owners.own(), who, who]


def test_an_owner_needs_a_group() -> None:
    with pytest.raises(ValueError, match="no group"):
        owners.owner(54321, None)


def test_an_owner_s_watcher_has_all_that_the_store_asks_a_watcher_for() -> None:
    """It is passed for one by a cast, behind which no types are compared."""
    store = Path(owners.__file__).parent.parent / "store"
    asked = {name for path in store.rglob("*.py") for name in re.findall(r"watcher\.(\w+)", path.read_text())}
    assert {"add", "remove", "still"} <= asked
    watcher = Watcher("auto")
    try:
        owned = owners.OwnedWatcher(watcher, Owner(12345, 12345, (12345,)))
        assert {name for name in asked if not hasattr(owned, name)} == set()
        assert owned.still is watcher.still
    finally:
        watcher.close()
