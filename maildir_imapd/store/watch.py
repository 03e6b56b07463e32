"""One thread per process that notices what happens in the folders somebody listens to.

With inotify it waits for events on new/, cur/, the folder itself and the lock file, whose first bytes are
the bell that other processes ring. Without, and where changes can be made past this kernel (network file systems, FUSE,
overlays), it also looks at each folder once per interval, which is three system calls when nothing happened; and at all
folders from time to time, for a kernel may be deaf in ways that nobody knows. Either way the mailbox finds out what it
was, and wakes its listeners; this thread touches no socket.

It serves everybody, so it waits for nobody: a folder that somebody holds is left and come back to. And it does not
end: after an error it begins anew, and looks at everything, for events may have been lost.
"""

from __future__ import annotations

import errno
import math
import select
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, filesystems, inotify
from maildir_imapd.store.records import acl
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.bell import Bell
from maildir_imapd.store.threads.longlived import BEAT_SECONDS, LongLived, no_beat
from maildir_imapd.store.threads.still import Still

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

log = Log(__name__)

MODES: Final = ("auto", "inotify", "poll")

# Folders that are watched although nobody listens any more: most are opened again soon, by the next request
# of a webmail or a client that goes to and fro, and setting watches costs more than all else in a SELECT.
LINGERING: Final = 64

# Seconds after which a folder that somebody listens to is looked at although inotify says nothing.
LOOK_ANYWAY_SECONDS: Final = 30.0
# Seconds until a folder that somebody holds is come back to: the first time, and at the most; doubled in between.
COME_BACK_SECONDS: Final = 0.2
COME_BACK_AT_MOST_SECONDS: Final = 5.0
# Seconds until what happens meanwhile to the files of such a folder is looked at.
AT_WORK_SECONDS: Final = 0.1
# Seconds after which the log says that a folder is held.
HELD_LONG_SECONDS: Final = 30.0


class Watched(Protocol):
    """A mailbox, or the names of an account."""

    path: bytes
    # Whether what is to be watched changes with what is found.
    grows: bool

    @property
    def listened(self) -> bool:
        """Whether anybody listens."""
        ...

    def watches(self) -> Sequence[tuple[bytes, int]]:
        """Paths to watch and the events that count; what is not there is passed over."""
        ...

    def looking(self) -> AbstractContextManager[None]:
        """Entered by the watch thread around all that touches the disk."""
        ...

    def refresh(self) -> float | None:
        """See what has happened, wake who listens; return in how many seconds to do so again whatever happens.

        Waits for nobody's lock: LockTimeout when one is not free. Raises MailboxMissing when it is gone for good,
        ImapdError.
        """
        ...


@dataclass(slots=True)
class _Held:
    """A folder whose lock was somebody else's."""

    since: float
    until: float  # when to come back
    pause: float = COME_BACK_SECONDS
    told: bool = False


class Watcher:
    """Watches folders for as long as somebody listens to them."""

    def __init__(
        self, mode: str = "auto", interval: float = 1.0, beat: Callable[[], None] = no_beat, *, shared: bool = False
    ) -> None:
        """*shared*: other hosts change what is watched, of whatever kind its file system is."""
        self.mode = mode
        self._shared = shared
        self._lost: set[int] = set()  # those of which the log says that their mail is not there; the thread's own
        self.interval = interval
        # Guards all below; held while watches are set, never while a mailbox looks at the disk.
        self._guard = locks.make(locks.Rank.GUARD)
        self._boxes: dict[int, Watched] = {}  # by id(): a mailbox is watched or not, whatever its path
        self._polled: set[int] = set()  # those that inotify does not cover, or not all of
        self._deaf: set[str] = set()  # file systems of which the log has a line
        self._due: dict[int, float] = {}  # when to look again although nothing happened
        self._watches: dict[int, set[int]] = {}  # watch -> mailboxes; one folder may have two objects
        # Mailbox -> watches, the same the other way round, each with its path and mask.
        self._watches_of: dict[int, dict[int, tuple[bytes, int]]] = {}
        self._marks: dict[int, set[int]] = {}  # mark -> mailboxes, and the other way round
        self._marks_of: dict[int, int] = {}
        self._again: dict[int, list[tuple[bytes, int]]] = {}  # watches that are to be set before the next look
        # Those that nobody listens to, the longest left first, and when that was (descriptors.used).
        self._left: dict[int, int] = {}
        descriptors.register(self)
        self._held: dict[int, _Held] = {}
        self._thread = LongLived("watch", self._run, beat)
        self._inotify: inotify.Inotify | None = None
        self._bell = Bell()
        # For whoever asks himself whether something has happened, and need not be told.
        self.still = Still(acl.FILE, trusting=mode == "inotify") if mode != "poll" and not shared else None
        if mode != "poll":
            try:
                self._inotify = inotify.Inotify(acl.FILE)
            except OSError as error:
                if mode == "inotify":
                    raise errors.ConfigError(detail=f"inotify: {error.strerror}") from error
                log.warning("inotify not available, polling", interval=interval, why=error)

    def add(self, mailbox: Watched, mark: int | None = None) -> None:
        """Begin to watch a folder; *mark*: the number by which other hosts hint at it."""
        with self._guard:
            if not self._wanted(mailbox):
                return
        wanted = mailbox.watches() if self._inotify is not None else ()
        deaf = None
        if self.mode == "auto" and self._inotify is not None:
            deaf = "shared spool" if self._shared else filesystems.deaf(mailbox.path)
        with self._guard:
            # Race: whoever listened may have stopped since, and another begun: the call that comes last counts.
            if not self._wanted(mailbox):
                return
            key = id(mailbox)
            self._boxes[key] = mailbox
            self._polled.add(key)
            self._set_mark(key, mark)
            # What happened before the watches were there is nobody's event: look once.
            self._due[key] = 0.0
            if self._inotify is not None and self._watch(key, wanted) and deaf is None:
                self._polled.discard(key)
            tell = deaf is not None and deaf not in self._deaf
            if deaf is not None:
                self._deaf.add(deaf)
        if tell:
            log.info("polling, for inotify does not hear all of this file system", kind=deaf, path=mailbox.path)
        try:
            self.start()
        except RuntimeError as error:
            log.error("no thread to watch folders, trying again later", why=error)
        self._bell.ring()

    def _wanted(self, mailbox: Watched) -> bool:
        """Whether somebody listens to a folder whose watches are not there; under the guard."""
        if self._thread.ending or not mailbox.listened:
            return False
        if id(mailbox) in self._left:
            del self._left[id(mailbox)]
            return False
        return True

    def _set_mark(self, key: int, mark: int | None) -> None:
        """Note by which number hints come, in place of the one that was; under the guard."""
        before = self._marks_of.pop(key, None)
        if before is not None:
            same = self._marks[before]
            same.discard(key)
            if not same:
                del self._marks[before]
        if mark is not None:
            self._marks_of[key] = mark
            self._marks.setdefault(mark, set()).add(key)

    def hint(self, mark: int) -> None:
        """Have a look at once at what another host says has changed, if anybody listens to it."""
        with self._guard:
            keys = self._marks.get(mark, ())
            self._due.update(dict.fromkeys(keys, 0.0))
        if keys:
            self._bell.ring()

    def start(self) -> None:
        """Begin the thread if it does not run: the first to open a mailbox need not wait for it.

        Raises RuntimeError when the system has none to give.
        """
        self._thread.start()

    def _watch(self, key: int, wanted: Sequence[tuple[bytes, int]]) -> bool:
        """Set the watches of one folder; False if the system has no more to give."""
        assert self._inotify is not None
        for path, mask in wanted:
            try:
                number = self._inotify.watch(path, mask)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # a spool that cannot be written has no lock file; a folder that is gone says so itself
                log.warning("no inotify watch, polling", path=path, why=error)
                self._unwatch(key)
                return False
            self._watches.setdefault(number, set()).add(key)
            self._watches_of.setdefault(key, {})[number] = path, mask
        return True

    def _unwatch(self, key: int) -> None:
        self._again.pop(key, None)
        for number in self._watches_of.pop(key, ()):
            keys = self._watches[number]
            keys.discard(key)
            if not keys:
                del self._watches[number]
                if self._inotify is not None:
                    self._inotify.forget(number)

    def release(self, mailbox: Watched) -> None:
        """Note that nobody listens to a folder for now; its watches stay until others have been left later."""
        with self._guard:
            key = id(mailbox)
            if key not in self._boxes or mailbox.listened:
                return
            if key in self._polled:
                self._drop(key)
                return
            self._left[key] = descriptors.used()
            while len(self._left) > LINGERING:
                self._drop(next(iter(self._left)))

    def idle(self) -> list[tuple[int, int]]:
        """Those that nobody listens to: they may go when descriptors run short (descriptors.Keeper)."""
        with self._guard:
            return [(when, key) for key, when in self._left.items()]

    def drop(self, key: int) -> None:
        """Watch one of them no longer."""
        with self._guard:
            dropped = self._boxes.get(key) if key in self._left else None
            if dropped is not None:
                self._drop(key)
        # What it has open is closed here, without the lock.
        del dropped

    def leave(self, mailbox: Watched) -> None:
        """Watch no longer what nobody listens to."""
        with self._guard:
            # Race: whoever was the last may be one no more: the call that comes last counts.
            if id(mailbox) in self._boxes and not mailbox.listened:
                self._drop(id(mailbox))

    def remove(self, mailbox: Watched) -> None:
        """Watch a folder no longer."""
        with self._guard:
            if id(mailbox) in self._boxes:
                self._drop(id(mailbox))

    def _drop(self, key: int) -> None:
        del self._boxes[key]
        self._left.pop(key, None)
        self._polled.discard(key)
        self._due.pop(key, None)
        self._held.pop(key, None)
        self._set_mark(key, None)
        self._unwatch(key)

    def close(self, timeout: float | None = None) -> None:
        """End the thread; one that has not ended within *timeout* seconds keeps its descriptors."""
        if self.still is not None:
            self.still.close()
        self._thread.ask_to_end()
        self._bell.ring()
        if not self._thread.join(timeout):
            return
        with self._guard:
            self._boxes.clear()
            self._left.clear()
            self._watches.clear()
            self._watches_of.clear()
            if self._inotify is not None:
                self._inotify.close()
                self._inotify = None
        self._bell.close()

    # --- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._bell.fd, select.POLLIN)
        if self._inotify is not None:
            poll.register(self._inotify.fileno(), select.POLLIN)
        with self._guard:
            # Begun anew after an error, events may have been read and lost.
            self._due.update(dict.fromkeys(self._boxes, 0.0))
        next_poll = time.monotonic() + self.interval
        later: dict[int, None] = {}  # what is due without an event, in the order in which it became so
        while not self._thread.ending:
            self._thread.beat()
            poll.poll(0 if later else self._patience(next_poll) * 1000)
            now = time.monotonic()
            news = self._collect(now, later)
            if now >= next_poll:
                next_poll = now + self.interval
                with self._guard:
                    later.update(dict.fromkeys(self._polled))
            for key in news:
                later.pop(key, None)
                self._look(key)
            # One of these at the least, so that they have their turn, too; then news that has come meanwhile.
            while later and not self._thread.ending:
                key = next(iter(later))
                del later[key]
                self._look(key)
                if poll.poll(0):
                    break

    def _patience(self, next_poll: float) -> float:
        """For how many seconds there is nothing to do unless something happens."""
        with self._guard:
            times = list(self._due.values())
            if self._polled:
                times.append(next_poll)
        return max(0.0, min(BEAT_SECONDS, min(times) - time.monotonic())) if times else BEAT_SECONDS

    def _collect(self, now: float, later: dict[int, None]) -> set[int]:
        """Return the mailboxes that something happened to; those that are due go to *later*."""
        self._bell.clear()
        nothing: tuple[set[int], set[int], bool] = set(), set(), False
        fired, ended, lost = self._inotify.read() if self._inotify is not None else nothing
        news: set[int] = set()
        with self._guard:
            # Somebody is at work there, perhaps for long, and each look would cost him time: a moment later all that he
            # has done till then is one look. The bell says at once that something is done.
            held = {key for key, each in self._held.items() if now < each.until}
            for number in fired:
                keys = self._watches.get(number, set())
                busy = held & keys if number in ended else set()
                news |= keys - busy
                for key in busy:
                    self._due[key] = min(self._due.get(key, math.inf), now + AT_WORK_SECONDS)
            for number in ended:
                # Of a directory that is gone, or had its event: no other watch ever has its number.
                for key in self._watches.pop(number, ()):
                    path, mask = self._watches_of[key].pop(number)
                    if mask & inotify.ONCE:
                        self._again.setdefault(key, []).append((path, mask))
            if lost:
                later.update(dict.fromkeys(self._boxes))
                for key, watches in self._watches_of.items():
                    self._again[key] = [each for each in watches.values() if each[1] & inotify.ONCE]
            later.update((key, None) for key, when in self._due.items() if when <= now)
        return news

    def _extend(self, key: int, mailbox: Watched) -> bool:
        """Watch what has been found to belong to it since; say whether that is anything."""
        if self._inotify is None:
            return False
        wanted = mailbox.watches()
        with self._guard:
            if key not in self._boxes or key in self._polled:
                return False
            before = set(self._watches_of.get(key, ()))
            if not self._watch(key, wanted):
                self._polled.add(key)
                return True
            return not before.issuperset(self._watches_of.get(key, ()))

    def _look(self, key: int) -> None:
        self._thread.beat()
        with self._guard:
            mailbox = self._boxes.get(key)
            self._due.pop(key, None)
            again = self._again.pop(key, None)
            if again and mailbox is not None and not self._watch(key, again):
                self._polled.add(key)
        if mailbox is None:
            return
        try:
            with mailbox.looking():
                wait = mailbox.refresh()
                if mailbox.grows and self._extend(key, mailbox):
                    # What happened in it before it was watched is nobody's event.
                    wait = 0.0
        except errors.MailboxMissing:
            self.remove(mailbox)  # its listeners have been woken and see that it is gone
            return
        except errors.LockTimeout as error:
            self._come_back(key, error.detail)
            return
        except errors.ImapdError as error:
            if not isinstance(error, errors.SpoolGone) or key not in self._lost:
                log.warning("folder cannot be watched", path=mailbox.path, why=error, detail=error.detail)
            if isinstance(error, errors.SpoolGone):
                self._lost.add(key)
            wait = self.interval
        except Exception:
            # Set first: without memory for a line of the log it is looked at again all the same.
            self._look_again(key, self.interval)
            log.exception("watching failed", path=mailbox.path)
            return
        else:
            self._lost.discard(key)
        with self._guard:
            self._held.pop(key, None)
        if mailbox.listened:
            wait = LOOK_ANYWAY_SECONDS if wait is None else min(wait, LOOK_ANYWAY_SECONDS)
        if wait is not None:
            self._look_again(key, wait)

    def _look_again(self, key: int, seconds: float) -> None:
        with self._guard:
            if key in self._boxes:
                self._due[key] = time.monotonic() + seconds

    def _come_back(self, key: int, what: str) -> None:
        """Look again at a folder that somebody holds: ever later, but no later for events that come meanwhile."""
        now = time.monotonic()
        with self._guard:
            if key not in self._boxes:
                return
            held = self._held.get(key)
            if held is None:
                held = self._held[key] = _Held(now, now + COME_BACK_SECONDS)
            elif now >= held.until:
                held.pause = min(held.pause * 2, COME_BACK_AT_MOST_SECONDS)
                held.until = now + held.pause
            self._due[key] = held.until
            tell = not held.told and now - held.since >= HELD_LONG_SECONDS
            held.told = held.told or tell
        if tell:
            log.warning("folder is held by somebody, news of it waits", path=what, seconds=round(now - held.since))
        else:
            log.debug("folder is held by somebody", path=what)
