"""The open directories of a folder: its own, our index's, and the other server's, which mostly are all the same.

Paths are below these descriptors, so a folder that is renamed under us is never mistaken for the one that takes its
place; whether it has been is asked here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable, filesystems, fresh
from maildir_imapd.store.disk.descriptors import Closed, Descriptor, Resting
from maildir_imapd.store.disk.filesystems import SharedSpool
from maildir_imapd.store.maildir import ground, scan

log = Log(__name__)

_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
T = TypeVar("T")
_AT_FDCWD: Final = -100


class Remounted(errors.SpoolGone):
    """The mail is not there just now; the administrator can find it in the log"""


@dataclass(frozen=True, slots=True)
class Directories:
    """One folder's. *identity*: device and inode; nobody else gets them as long as the directory is open.

    *owner*: the uid whose directories and files links in it may lead to; None where none is followed.
    """

    path: bytes
    index_path: bytes
    folder: Resting
    control: Descriptor | None  # the other server's own; None where it is wanted and cannot be had
    index: Descriptor
    identity: tuple[int, int]
    mode: int  # for new files
    writable: bool  # whether messages can be renamed and removed
    owner: int | None
    # What is open beside the folder's own directory; mostly nothing is. Not asked for when closing: that must not fail.
    others: tuple[Descriptor, ...]
    root: bytes  # of the mail that the folder belongs to, or the folder itself
    shared: bool = False  # other hosts change what is in them
    born: int | None = None  # when the directory was made: with device and inode no other one's, once it was closed

    @property
    def may_rest(self) -> bool:
        """Whether the folder itself can be closed for a while: it is this host's alone, and known again."""
        return not self.shared and not self.others and self.born is not None

    def same(self, path: bytes, status: os.stat_result) -> bool:
        """Whether what *path* leads to, as *status* has it, is this folder, be it open or not."""
        if (status.st_dev, status.st_ino) != self.identity:
            return False
        return not self.folder.resting or scan.born(_AT_FDCWD, path + b"/.") == self.born

    def use(self) -> AbstractContextManager[object]:
        """Keep all of them open meanwhile; raises OSError where one that rested cannot be opened again."""
        return self._use_all() if self.others else self.folder.use()

    def begin_use(self) -> AbstractContextManager[object]:
        """The same, begun: whoever calls ends it.  Raises MailboxMissing where the folder has gone, StoreError."""
        used = self.use()
        enter(used, self.path)
        return used

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """As ``begin_use``, for a block."""
        used = self.begin_use()
        try:
            yield
        finally:
            used.__exit__(None, None, None)

    @contextmanager
    def _use_all(self) -> Iterator[None]:
        with ExitStack() as used:
            for directory in (*self.others, self.folder):
                used.enter_context(directory.use())
            yield

    def close(self) -> None:
        """Let go of every descriptor; nobody else may be at work here, or begin to."""
        descriptors.close_all({self.folder, *self.others})

    def check_place(self) -> None:
        """Raise MailboxMissing if the folder is no longer where it was: deleted, renamed, or another one.

        On a spool that is shared: SpoolGone where all of the mail has gone, Remounted where the folder is in its place
        and what is open of it is of a mount that has gone.
        """
        if self.shared:
            self._check_mount()
            return
        try:
            status = os.stat(self.path)
            if self.same(self.path, status):
                # On nested directories a name may go and its directory stay, for the sake of its children.
                os.stat(self.path + b"/cur")
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise durable.store_error(error, self.path) from error
        raise errors.MailboxMissing(detail=os.fsdecode(self.path))

    def _check_mount(self) -> None:
        try:
            status = fresh.stat(self.path)
            if (status.st_dev, status.st_ino) == self.identity:
                os.stat(self.path + b"/cur")
                return
            if status.st_ino == self.identity[1]:
                raise Remounted(detail=os.fsdecode(self.path))
        except (FileNotFoundError, NotADirectoryError):
            if not ground.there(self.root):
                raise errors.SpoolGone(detail=f"{os.fsdecode(self.root)} is not there") from None
        except OSError as error:
            raise durable.store_error(error, self.path) from error
        raise errors.MailboxMissing(detail=os.fsdecode(self.path))


def enter(used: AbstractContextManager[T], path: bytes) -> T:
    """Begin to use what of the folder at *path* may have rested; raises MailboxMissing, StoreError, Closed."""
    try:
        return used.__enter__()
    except (FileNotFoundError, NotADirectoryError):
        raise errors.MailboxMissing(detail=os.fsdecode(path)) from None
    except Closed:
        raise
    except OSError as error:
        raise durable.store_error(error, path) from error


class Standing:
    """Where a folder stands, and whether the mount below it is still there; safe from any thread but for ``renew``."""

    def __init__(self, opens: Callable[[], Directories]) -> None:
        self._opens = opens
        self.now = opens()
        self.lost = False  # something that is open was of a mount that has gone
        self._was_writable = self.now.writable

    def check_place(self) -> None:
        """As of ``Directories``; of a mount that has gone it is remembered."""
        try:
            self.now.check_place()
        except Remounted:
            self.lost = True
            raise

    def in_place(self) -> bool:
        """Whether the folder is still where it was; yes if that cannot be seen."""
        try:
            self.check_place()
        except errors.MailboxMissing:
            return False
        except errors.StoreError:
            pass
        return True

    def lose(self, error: BaseException | None) -> bool:
        """Hear of what failed; say whether its mount has gone: then whoever comes next tries the one of now."""
        if isinstance(error, OSError) and filesystems.lost(error, self.now.path):
            self.lost = True
        return self.lost

    def renew(self) -> Directories:
        """Go on in the mount that is there now, and return the directories; under the lock between threads.

        Raises MailboxMissing where another folder is there, SpoolGone where none is, StoreError.
        """
        with durable.as_store_error(self.now.path):
            if not ground.there(self.now.root):
                raise errors.SpoolGone(detail=f"{os.fsdecode(self.now.root)} is not there")
            self.now = _reopened(self.now, self._opens())
        # A mount that has just come may not have found all its servers yet: whoever comes next looks again.
        self.lost = self._was_writable and not self.now.writable
        log.info("folder opened anew, its mount had gone", path=self.now.path)
        return self.now


def _reopened(where: Directories, found: Directories) -> Directories:
    """Return *where* with what is open of *found*, the same folder in the mount of now; *found* is closed.

    The numbers stay what they were, for everybody who knows them: he goes on in the new mount. The folder's lock
    between threads is held. Raises MailboxMissing, where it is another folder, and OSError.
    """
    try:
        pairs = [(where.folder, found.folder), (where.index, found.index), (where.control, found.control)]
        if found.identity[1] != where.identity[1] or any((one is None) != (other is None) for one, other in pairs):
            raise errors.MailboxMissing(detail=os.fsdecode(where.path))
        for old, new in pairs:
            if old is not None and new is not None:
                os.dup2(new.number, old.number, inheritable=False)
    finally:
        found.close()
    return replace(where, identity=found.identity, writable=found.writable)


def open_all(
    path: bytes,
    index_path: bytes,
    control_path: bytes,
    *,
    root: bytes | None,
    links: bool,
    needed: bool,
    shared: SharedSpool = "auto",
) -> Directories:
    """Open the directories of the folder at *path*; *needed*: the other server's must be had.

    *root*: beneath which it lies, None for a path that is the settings' own. *links*: whether links from there on are
    followed, to what belongs to whom the root does. Raises MailboxMissing, StoreError.
    """
    with ExitStack() as half_made:
        try:
            folder, status, born, owner = _open_folder(path, path if root is None else root, links=links)
            half_made.callback(folder.close)
            os.close(descriptors.open(b"cur", _FLAGS | os.O_PATH, dir_fd=folder.number, owner=owner))
            for name in (b"new", b"tmp"):
                _make_directory(folder.number, name, status.st_mode, path)
        except (FileNotFoundError, NotADirectoryError):
            raise errors.MailboxMissing(detail=os.fsdecode(path)) from None
        except OSError as error:
            raise durable.store_error(error, path) from error
        writable = _writable(folder.number)
        control = folder if control_path == path else _open_control(control_path, needed)
        if control is not None:
            half_made.callback(control.close)
        index = folder if index_path == path else _open_index(index_path) or folder
        half_made.callback(index.close)
        others = tuple([each for each in (control, index) if each is not None and each is not folder])
        found = Directories(
            path,
            index_path,
            folder,
            control,
            index,
            identity=(status.st_dev, status.st_ino),
            mode=status.st_mode & 0o666 or 0o600,
            writable=writable,
            owner=owner,
            others=others,
            root=path if root is None else root,
            shared=filesystems.is_shared(folder.number, shared),
            born=born if filesystems.deaf_at(folder.number) is None else None,
        )
        half_made.pop_all()
    return found


def _open_folder(path: bytes, root: bytes, *, links: bool) -> tuple[Resting, os.stat_result, int | None, int | None]:
    """Open a folder's own directory; return it, its status, when it was made, and an owner as of ``open_below``."""
    number, owner = descriptors.open_below(path, _FLAGS, root=root, links=links)
    try:
        status, born = os.fstat(number), scan.born(number, b".")
    except BaseException:
        os.close(number)
        raise

    def again() -> int:
        """No other one that has its name, or its inode, by now; raises OSError."""
        found, _ = descriptors.open_below(path, _FLAGS, root=root, links=links)
        try:
            if os.path.samestat(os.fstat(found), status) and scan.born(found, b".") == born:
                return found
        except BaseException:
            os.close(found)
            raise
        os.close(found)
        raise FileNotFoundError(errno.ENOENT, "it is another folder", path)

    return Resting(number, "folder", again), status, born, owner


def _open_control(path: bytes, needed: bool) -> Descriptor | None:
    """Open where a neighbour's files about the folder are; where that cannot be, its list of UIDs is not kept."""
    try:
        durable.make_directories(path)
        return Descriptor(descriptors.open(path, _FLAGS), "control directory")
    except OSError as error:
        # Beside a server that runs, its lock must be had.
        if needed or descriptors.out_of_descriptors(error):
            raise durable.store_error(error, path) from error
        log.warning("no control directory", path=path, why=error)
        return None


def _open_index(path: bytes) -> Descriptor | None:
    """Open our own directory; None where there is no room or no right to make it: the history lives in memory."""
    try:
        durable.make_directories(path)
    except OSError as error:
        if not durable.cannot_write(error):
            raise durable.store_error(error, path) from error
    try:
        return Descriptor(descriptors.open(path, _FLAGS), "index directory")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise durable.store_error(error, path) from error


def _make_directory(folder: int, name: bytes, mode: int, path: bytes) -> None:
    """Make a directory that every Maildir has and some copies of one lack; a cur/ alone can be read."""
    if durable.is_untouched():
        return
    try:
        os.mkdir(name, mode & 0o777, dir_fd=folder)
    except FileExistsError:
        if not _is_directory(folder, name):
            # Without new/ nothing is delivered, and without tmp/ nothing is taken in; what is in cur/ is served.
            log.warning("a file where a directory should be", path=path, name=name)
    except OSError:
        pass  # we may not


def _is_directory(folder: int, name: bytes) -> bool:
    """Say whether it is one; yes if that cannot be seen."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder).st_mode)
    except OSError:
        return True


def _writable(folder: int) -> bool:
    """Say whether messages can be renamed and removed here."""
    return not durable.is_untouched() and all(
        os.access(name, os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True)
        for name in (b"cur", b"new", b"tmp")
        if _is_directory(folder, name)
    )
