"""Trying a mount: each method of an ``Actor`` is one thing that the store asks of a file system.

``maildir-imapd check-spool`` has one ``Actor`` on each of two hosts, or mounts, and lets them act in turns: what the
one does is what the other must see. Everything is done in a directory made for it, by the calls that the store makes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from maildir_imapd import errors
from maildir_imapd.store.disk import descriptors, durable, filesystems, fresh, inotify
from maildir_imapd.store.disk.descriptors import open_directory
from maildir_imapd.store.threads import locks

# The octets of a record that is appended under the lock.
RECORD_OCTETS: Final = 16
_BUSY: Final = (errno.EWOULDBLOCK, errno.EACCES)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# Seconds for which a lock is waited for that the other side holds for one record.
LOCK_SECONDS: Final = 60.0
# struct flock, see index/claim.py.
_LOCK: Final = struct.Struct("@hhqqi")
_RDWR: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Actor:
    """One host's hands in a directory; not for threads. What is asked and answered can go through JSON."""

    def __init__(self, directory: bytes) -> None:
        self.path = directory
        self._at = open_directory(directory)
        self._held: dict[str, int] = {}  # files that are kept open, by name
        self._watch: inotify.Inotify | None = None

    def do(self, what: str, *given: Any) -> Any:
        """Do what has this name; an OSError is an answer, too: ``{"error": its name}``."""
        method: Callable[..., Any] = getattr(self, f"try_{what}")
        try:
            return method(*given)
        except errors.LockTimeout:
            return {"error": "a lock that is not given back"}
        except OSError as error:
            return {"error": errno.errorcode.get(error.errno or 0, str(error.errno))}

    def close(self) -> None:
        """Let go of everything."""
        for number in [*self._held.values(), self._at]:
            with suppress(OSError):
                os.close(number)  # an open file may be of what another host has removed
        if self._watch is not None:
            self._watch.close()
        self._held.clear()

    def _open(self, name: str, flags: int = _RDWR) -> int:
        return descriptors.open(os.fsencode(name), flags, 0o600, dir_fd=self._at)

    # --- what is there ------------------------------------------------------------------------------

    def try_who(self) -> dict[str, Any]:
        """Say what is mounted here, and what the clock says."""
        return {
            "host": os.uname().nodename,
            "boot": _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else "",
            "kind": filesystems.deaf_at(self._at) or "",
            "time": time.time(),
            **mount(self.path),
        }

    def try_write(self, name: str, text: str) -> None:
        """Make or overwrite a file, synced."""
        number = self._open(name, _RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            durable.write(number, text.encode())
            durable.sync(number)
        finally:
            os.close(number)

    def try_read(self, name: str) -> str:
        """Open a file and read it to its end."""
        number = self._open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return durable.read_on(number, 0, os.fsencode(name)).decode()
        finally:
            os.close(number)

    def try_put(self, name: str, text: str) -> None:
        """Put a new file in the place of one, as a checkpoint is."""
        durable.put(os.fsencode(name), text.encode(), self._at, durable=True, mode=0o600)

    def try_size(self, name: str) -> int:
        """Say how many octets a file has, as any program sees it."""
        return os.stat(name, dir_fd=self._at).st_size

    def try_size_anew(self, name: str) -> int:
        """The same, asked of the server."""
        return fresh.stat(os.fsencode(name), dir_fd=self._at).st_size

    def try_stamp(self) -> tuple[int, int]:
        """Return mtime and ctime of the directory, asked of the server."""
        found = fresh.fstat(self._at)
        return found.st_mtime_ns, found.st_ctime_ns

    def try_there(self, name: str) -> bool:
        """Say whether there is a file of that name."""
        try:
            os.stat(name, dir_fd=self._at, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def try_names(self) -> list[str]:
        """List the directory."""
        number = open_directory(b".", dir_fd=self._at)
        try:
            return sorted(os.listdir(number))
        finally:
            os.close(number)

    def try_times(self, changes: int, seconds: float) -> list[int]:
        """Make files one after the other until their times have changed so often; return them, in nanoseconds.

        Many are made within one tick of the clock where syncing costs nothing.  It ends after so many seconds as well.
        """
        found: list[int] = []
        end = time.monotonic() + seconds
        while len(set(found)) <= changes and time.monotonic() < end:
            self.try_write("time", "")
            found.append(os.stat("time", dir_fd=self._at).st_mtime_ns)
        return found

    # --- one name, one owner --------------------------------------------------------------------------

    def try_exclusive(self, prefix: str, count: int) -> list[int]:
        """Make files that nobody else may have made; return the numbers of those that were ours."""
        won = []
        for n in range(count):
            try:
                os.close(durable.create(f"{prefix}{n}".encode(), self._at, 0o600))
            except FileExistsError:
                continue
            won.append(n)
        return won

    def try_link(self, source: str, target: str) -> bool:
        """Give a file a second name; False where the name is taken."""
        try:
            os.link(source, target, src_dir_fd=self._at, dst_dir_fd=self._at, follow_symlinks=False)
        except FileExistsError:
            return False
        return True

    def try_rename(self, source: str, target: str) -> bool:
        """Rename, never over another file, as messages are; False where the name is taken."""
        try:
            durable.rename(os.fsencode(source), os.fsencode(target), self._at, self._at)
        except FileExistsError:
            return False
        return True

    def try_rename_flag(self) -> bool:
        """Say whether the file system has a rename that refuses a name that is taken."""
        self.try_write("flag-from", "")
        return durable.has_exclusive_rename(b"flag-from", b"flag-to", self._at)

    def try_unlink(self, name: str) -> None:
        """Remove a name."""
        os.unlink(name, dir_fd=self._at)

    # --- locks --------------------------------------------------------------------------------------

    def try_lock(self, name: str, kind: str) -> bool:
        """Take a lock, ``flock`` or ``fcntl``; False where somebody has it."""
        number = self._held.get(name)
        if number is None:
            number = self._held[name] = self._open(name, _RDWR | os.O_CREAT)
        try:
            if kind == "flock":
                locks.flock(number, os.fsencode(name), 0, rank=None)
            else:
                fcntl.fcntl(number, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except errors.LockTimeout:
            return False
        except OSError as error:
            if error.errno not in _BUSY:
                raise
            return False
        return True

    def try_release(self, name: str) -> None:
        """Give a lock back, and then close the file: some servers hear of the second later than of the first."""
        number = self._held.pop(name)
        try:
            locks.unlock(number, rank=None)
            fcntl.fcntl(number, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 0, 0))
        finally:
            os.close(number)

    def try_append(self, name: str, word: str, count: int) -> None:
        """Append records under the lock ``NAME.lock``, each behind what is there then, as a journal grows."""
        for n in range(count):
            lock = self._open(f"{name}.lock", _RDWR | os.O_CREAT)
            try:
                locks.flock(lock, os.fsencode(name), LOCK_SECONDS, rank=None)
                number = self._open(name)
                try:
                    end = fresh.fstat(number).st_size
                    durable.write_at(number, f"{word}{n:06}".ljust(RECORD_OCTETS - 1).encode() + b"\n", end)
                    durable.sync_data(number)
                finally:
                    os.close(number)
                locks.unlock(lock, rank=None)
            finally:
                os.close(lock)

    # --- what is open -------------------------------------------------------------------------------

    def try_hold(self, name: str) -> None:
        """Keep a file open."""
        self._held[name] = self._open(name)

    def try_read_held(self, name: str) -> str:
        """Read a file that is kept open from its begin."""
        return os.pread(self._held[name], 1 << 16, 0).decode()

    def try_watch(self) -> None:
        """Watch the directory."""
        self._watch = inotify.Inotify(b"")
        self._watch.watch(self.path, inotify.DIRECTORY)

    def try_heard(self, seconds: float) -> bool:
        """Say whether anything was heard of the directory since, or is within so many seconds."""
        if self._watch is None:
            return False
        poll = select.poll()
        poll.register(self._watch.fileno(), select.POLLIN)
        poll.poll(seconds * 1000)
        return bool(self._watch.read()[0])

    # --- speed --------------------------------------------------------------------------------------

    def try_speed(self, count: int) -> dict[str, float]:
        """Return how many milliseconds calls of the store take, the mean of so many."""
        self.try_write("speed", "x")
        self.try_exclusive("speed-", count)
        calls: dict[str, Callable[[int], Any]] = {
            "stat": lambda n: self.try_size_anew("speed"),
            "open": lambda n: os.close(self._open("speed")),
            "lock": lambda n: self.do("lock", "speed", "flock") and self.do("release", "speed"),
            "append, synced": lambda n: self.try_append("speed", "s", 1),
            "rename": lambda n: self.try_rename(f"speed-{n}", f"speed+{n}"),
            "list 100 names": lambda n: self.try_names(),
        }
        found = {}
        for what, call in calls.items():
            began = time.monotonic()
            for n in range(count):
                call(n)
            found[what] = round((time.monotonic() - began) * 1000 / count, 3)
        return found


def mount(path: bytes) -> dict[str, str]:
    """Return what the kernel says of the mount that a path is in: its type, what is mounted, where, and its options."""
    real, best = os.path.join(os.fsdecode(os.path.realpath(path)), ""), {"at": ""}
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        first, _, last = line.partition(" - ")
        words, more = first.split(" "), last.split(" ")
        where = words[4].replace("\\040", " ")
        # Of two at one place the later one lies on top.
        if real.startswith(os.path.join(where, "")) and len(where) >= len(best["at"]):
            best = {"type": more[0], "source": more[1], "at": where, "options": f"{words[5]},{more[2]}"}
    if best.get("type") == "fuse.glusterfs":
        best["options"] += _told_to_glusterfs(best["at"])
    return best


def _told_to_glusterfs(where: str) -> str:
    """Return the options with which a volume was mounted: the kernel does not know them, the program was told."""
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")
        except OSError:
            continue
        if words and words[-1] == where and "glusterfs" in words[0]:
            return "," + ",".join(word.removeprefix("--") for word in words[1:-1])
    return ""
