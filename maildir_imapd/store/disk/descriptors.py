"""Descriptors that outlive one call: each has one owner, its users are counted, and a process has one budget of them.

The kernel gives a number that is closed to whatever is opened next. So a number that one thread still has in its hand
when another closes it is soon another folder's, another client's socket or a mail file, and what is written to it
lies there. Hence (docs/rules.md, D1 to D5):

- a number that more than one function knows belongs to a :class:`Descriptor`, which alone closes it;
- ``with descriptor.use() as number`` keeps it open for the block: ``close`` leaves the closing to the last user;
- after ``close`` nobody gets the number: :class:`Closed` is raised;
- no finaliser (``__del__``) closes anything: while it runs, weak references still hand the dying object out.

What is kept open only to be quick next time (mailboxes that nobody has selected, and their watches) stands with a
:class:`Keeper`; unused.py has most of it. When descriptors run short in the process, the longest unused of all of it
goes, and the call is tried once more.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
import stat
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from maildir_imapd.events import Log
from maildir_imapd.store.disk import resolve

P = ParamSpec("P")
T = TypeVar("T")

# Of RLIMIT_NOFILE, beyond which what nobody uses is let go.
HIGH_SHARE: Final = 0.8
# Of all that is kept, this part is let go at a time: enough that the next few hundred calls need not ask again.
RELIEF: Final = 8
# How often a call is tried that finds none left, and is told each time that there are some now.
_TRIES: Final = 5
# Seconds in which another thread has let go of what it is about to; nothing that it does then waits.
_RELIEVED_SECONDS: Final = 1.0

log = Log(__name__)

_setfsuid = getattr(ctypes.CDLL(None, use_errno=True), "setfsuid", None)
# What opening without links says where there is one.
_LINK_ON_THE_WAY: Final = frozenset({errno.ELOOP, errno.EXDEV, errno.ENOTDIR})
# What close(2) says of a file that was written to, on a mount that has gone.
_GONE: Final = frozenset({errno.ENOTCONN, errno.ESTALE, errno.ESHUTDOWN, errno.EBADFD})
_NOBODY: Final = 0xFFFFFFFF  # which setfsuid refuses: it only tells who the thread acts as


class Closed(OSError):
    """A descriptor was to be used that its owner has closed: EBADF, said before the kernel could take another's."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EBADF, f"{what} is closed already")


class Descriptor:
    """The owner of one number; safe from any thread.

    *number* is this object's from here on. *what*: for whoever reads the error of a use after close.
    """

    # An RLock, for a collection may run a finaliser, and that close(), in the middle of a method here. Each method
    # is right when close() comes between any two of its steps: it counts first and looks afterwards.
    __slots__ = ("__weakref__", "_closing", "_lock", "_number", "_users", "what")

    def __init__(self, number: int, what: str = "descriptor") -> None:
        self.what = what
        self._number = number
        self._users = 0
        self._closing = False
        self._lock = threading.RLock()  # guards the three above; a leaf, held for no call

    def use(self) -> Descriptor:
        """For ``with descriptor.use() as number``: the number stays ours until the block ends; raises Closed."""
        return self

    def __enter__(self) -> int:
        with self._lock:
            self._users += 1
            if not self._closing:
                return self._number
        self.__exit__(None, None, None)
        raise Closed(self.what)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._users -= 1
            number = self._last()
        if number >= 0:
            # Here, and in no function of its own: without memory for its frame the number would be nobody's, and open.
            try:
                os.close(number)
            except OSError as error:
                # That its mount has gone is told by whatever is done next, and the number is free all the same.
                if error.errno not in _GONE:
                    raise

    @property
    def number(self) -> int:
        """The number, for whoever is inside a ``use`` further up; raises Closed when it is closed."""
        number = self._number
        if number < 0:
            raise Closed(self.what)
        return number

    @property
    def closed(self) -> bool:
        """Whether the owner has closed it; some user may still be at it."""
        return self._closing

    def close(self) -> None:
        """Give no number out any more, and close it, now or when the last user is done. Harmless twice."""
        with self._lock:
            self._closing = True
            number = self._last()
        if number >= 0:
            # Here, and in no function of its own: without memory for its frame the number would be nobody's, and open.
            try:
                os.close(number)
            except OSError as error:
                # That its mount has gone is told by whatever is done next, and the number is free all the same.
                if error.errno not in _GONE:
                    raise

    def _last(self) -> int:
        """The number, once, when it is time to close it; else -1. Under the lock."""
        if not self._closing or self._users:
            return -1
        number, self._number = self._number, -1
        return number


class Resting(Descriptor):
    """One that is closed while it *rests*, and opened anew by who uses it next.

    *opens* opens the very same thing, or raises what whoever uses it is to hear; it is called without a lock.
    """

    __slots__ = ("_opens",)

    def __init__(self, number: int, what: str, opens: Callable[[], int]) -> None:
        super().__init__(number, what)
        self._opens = opens

    def __enter__(self) -> int:
        with self._lock:
            self._users += 1
            if self._number >= 0 and not self._closing:
                return self._number
        try:
            return self._again()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def _again(self) -> int:
        """Open it, for who is counted among its users already: so nobody closes it, or lets it rest, meanwhile."""
        if self._closing:
            raise Closed(self.what)
        fresh = self._opens()
        with self._lock:
            # Another thread may have been quicker.
            if self._number < 0:
                self._number, fresh = fresh, -1
            number = self._number
        if fresh >= 0:
            os.close(fresh)
        if self._closing:
            raise Closed(self.what)
        return number

    @property
    def resting(self) -> bool:
        """Whether it is closed for the moment."""
        return self._number < 0 and not self._closing

    def rest(self) -> None:
        """Close it until it is used again, unless somebody does now."""
        with self._lock:
            if self._users or self._closing or self._number < 0:
                return
            number, self._number = self._number, -1
        # As of ``close``.
        try:
            os.close(number)
        except OSError as error:
            if error.errno not in _GONE:
                raise


# --- the budget -----------------------------------------------------------------------------------


class Keeper(Protocol):
    """Whoever keeps descriptors open that nobody uses now; safe from any thread, with any lock held."""

    def idle(self) -> list[tuple[int, Any]]:
        """Those that may go: when each was used last, by ``used``, and its key."""
        ...

    def drop(self, key: Any) -> None:
        """Keep one no longer; harmless if it is used again, or gone."""
        ...


_uses = itertools.count()
_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
_registering = threading.RLock()  # guards _keepers, which may not grow while it is walked; a leaf
_relieving = threading.Lock()  # one thread at a time lets go; others try again when it has
_high = -1  # a number from here on says that it is time; worked out when first needed


def used() -> int:
    """A number for this moment: what was used later has a higher one."""
    return next(_uses)


def register(keeper: Keeper) -> None:
    """Ask *keeper*, for as long as it lives, when descriptors run short."""
    with _registering:
        _keepers.add(keeper)


def relieve(part: int = RELIEF) -> bool:
    """Let go of the longest unused of what all accounts keep, one of *part*; say whether there was any.

    Safe with any lock held: nothing here waits, but for another thread that is at it.
    """
    if not _relieving.acquire(timeout=_RELIEVED_SECONDS):
        return True
    try:
        with _registering:
            keepers = list(_keepers)
        found = [(when, key, keeper) for keeper in keepers for when, key in keeper.idle()]
        found.sort(key=lambda row: row[0])
        for _, key, keeper in found[: -(-len(found) // part)]:
            keeper.drop(key)
        return bool(found)
    finally:
        _relieving.release()


def out_of_descriptors(error: OSError) -> bool:
    """Whether the process, or the system, has no descriptor left."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def again(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what *call* does, which opens something; without a descriptor left, let go and call again.

    Others may be quicker to take what has become free, so it is tried a few times.
    """
    for _ in range(_TRIES):
        try:
            return call(*args, **kwargs)
        except OSError as error:
            if not out_of_descriptors(error) or not relieve():
                raise
    return call(*args, **kwargs)


def open(path: bytes, flags: int, mode: int = 0o777, *, dir_fd: int | None = None, owner: int | None = None) -> int:
    """As ``os.open``, within the budget; whoever calls closes what it returns, or gives it to a Descriptor.

    A path is resolved as ``resolve.open`` says: through no link of /proc, and beneath *dir_fd* through no link at all,
    unless it leads to a directory or regular file of *owner*, a uid. A directory is one of whom the thread acts for
    (``demand_owner``).
    """
    if path.startswith(b"/"):
        dir_fd = None
    # One name below an open directory, which is not followed: there is nothing to resolve.
    plain = dir_fd is not None and flags & os.O_NOFOLLOW and b"/" not in path
    call = os.open if plain else resolve.open
    try:
        number = call(path, flags, mode, dir_fd=dir_fd)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EXDEV) and dir_fd is None and not flags & os.O_NOFOLLOW:
            log.error("not opened: the path leads through a link of the proc file system", path=path)
        if owner is not None and dir_fd is not None and error.errno in _LINK_ON_THE_WAY:
            number = again(_open_own, path, flags, dir_fd, owner, error)
        elif out_of_descriptors(error) and relieve():
            number = again(call, path, flags, mode, dir_fd=dir_fd)
        else:
            raise
    # The kernel gives the lowest number that is free: a high one says how many there are, and costs no count.
    if number >= _high:
        watch_level(number)
    if flags & os.O_DIRECTORY and dir_fd is None:
        try:
            demand_owner(number, path)
        except BaseException:
            os.close(number)
            raise
    return number


def _open_own(path: bytes, flags: int, dir_fd: int, owner: int, refusal: OSError) -> int:
    """Go through links; raise *refusal* unless what they lead to is a directory or regular file of *owner*.

    It is looked at before it is opened, for to open a device or a pipe may do something; and it is what was opened
    that counts, for a link may lead elsewhere by then.
    """
    there = resolve.open(path, os.O_PATH, dir_fd=dir_fd, beneath=False)
    try:
        state = os.fstat(there)
        if state.st_uid != owner or not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
            raise refusal
        number = resolve.open(path, flags & ~os.O_NOFOLLOW, dir_fd=dir_fd, beneath=False)
        try:
            if not os.path.samestat(state, os.fstat(number)):
                raise refusal
        except BaseException:
            os.close(number)
            raise
        return number
    finally:
        os.close(there)


def open_below(path: bytes, flags: int, *, root: bytes, links: bool) -> tuple[int, int | None]:
    """Open the directory at *path*, which lies below *root*, or is it; return the descriptor and an owner.

    The owner is whom the root belongs to, if *links* are followed to what is his, else None: no link is, from the root
    on. As ``open``.
    """
    above = open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        owner = os.fstat(above).st_uid if links else None
        number = open(os.path.relpath(path, root), flags, dir_fd=above, owner=owner)
    finally:
        os.close(above)
    try:
        demand_owner(number, path)
    except BaseException:
        os.close(number)
        raise
    return number, owner


def open_directory(path: bytes, *, dir_fd: int | None = None, follow: bool = True) -> int:
    """Open a directory to look into it or to sync it; with *follow* through ordinary links. As ``open``."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    return open(path, flags if follow else flags | os.O_NOFOLLOW, dir_fd=dir_fd)


def demand_owner(number: int, path: bytes) -> None:
    """Raise PermissionError, with a line in the log, for a directory that is not of whom this thread acts for.

    A thread that acts for a system user opens what he, or root, owns, or what a group of his may write to: a spool that
    several share. What anybody may read is not enough: another user's Maildir, which only its home protects, is no
    place for this one's mail.
    """
    if _setfsuid is None:
        return
    uid = _setfsuid(ctypes.c_uint(_NOBODY)) & 0xFFFFFFFF
    if uid == os.geteuid():
        return  # as the process itself: it acts for nobody
    state = os.fstat(number)
    if state.st_uid in (uid, 0) or (state.st_mode & 0o020 and state.st_gid in os.getgroups()):
        return
    log.error("directory of another user refused", path=path, owner=state.st_uid, user=uid)
    raise PermissionError(errno.EACCES, "it belongs to another user", path)


def watch_level(number: int) -> None:
    """Let go of what nobody uses if *number*, just opened, shows that descriptors run short."""
    global _high
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    _high = int((soft if soft != resource.RLIM_INFINITY else 1 << 30) * HIGH_SHARE)
    if number >= _high:
        relieve()


def close_all(descriptors: Iterable[Descriptor | None]) -> None:
    """Close each, also after one that fails; the last error is raised."""
    trouble: OSError | None = None
    for descriptor in descriptors:
        if descriptor is not None:
            try:
                descriptor.close()
            except OSError as error:
                trouble = error
    if trouble is not None:
        raise trouble
