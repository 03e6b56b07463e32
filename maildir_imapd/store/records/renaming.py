"""RENAME of several folders, which is several renames on the disk: all of them, or none, or finished by the next.

Before the first one a file says what is meant, the **intent**; behind the last one it is gone. It is written under
the account's lock, so whoever has the lock and finds one knows that its writer died, and finishes before he does
anything else (AccountLock). A line of it is ``<from> NUL <to>``, both whole paths; the line with nothing before the NUL
has the two names of mailboxes: ``NUL <old> NUL <new>``, in modified UTF-7.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from maildir_imapd import mutf7
from maildir_imapd.errors import MailboxExists, MailboxMissing
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable

log = Log(__name__)

INTENT: Final = b"maildir-imapd.rename"

Moves = Sequence[tuple[bytes, bytes]]


def carry_out(moves: Moves, names: tuple[str, str], root: int, after: Callable[[int, str, str], None]) -> None:
    """Rename folders, all or none, and do what follows from it; *root* is open at the account's root.

    Other programs make and remove folders without our lock: raises MailboxExists, MailboxMissing, OSError. Where a
    folder cannot be taken back the intent stays, and whoever has the lock next finishes what was begun.
    """
    several = len(moves) > 1
    if several:
        line = b"\0" + b"\0".join(map(mutf7.encode, names)) + b"\n"
        durable.put(INTENT, line + b"".join(a + b"\0" + b + b"\n" for a, b in moves), root, durable=True)
        durable.sync(root)
    _move(moves, root)
    _sync_parents(moves)
    after(root, *names)
    if several:
        durable.unlink(INTENT, root)


def _move(moves: Moves, root: int) -> None:
    done: list[tuple[bytes, bytes]] = []
    try:
        for a, b in moves:
            durable.rename(a, b, root, root)
            done.append((a, b))
    except OSError as error:
        for a, b in reversed(done):
            durable.rename(b, a, root, root)
        if len(moves) > 1:
            durable.unlink(INTENT, root)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise MailboxExists from None
        if error.errno == errno.ENOENT:
            raise MailboxMissing from None
        raise


def finish(root: int, within: Iterable[bytes], after: Callable[[int, str, str], None]) -> bool:
    """Finish what a writer that died has left, if there is anything; say whether there was. Under the lock.

    Only names below the directories of *within* are taken: whoever owns the root may have written the file himself.
    Raises OSError where it cannot be finished; then it stays for the next.
    """
    try:
        data = durable.read_file(INTENT, root)
    except FileNotFoundError:
        return False
    allowed = tuple(os.path.join(path, b"") for path in within)
    moves: list[tuple[bytes, bytes]] = []
    names: tuple[str, str] | None = None
    for line in data.split(b"\n"):
        a, nul, b = line.partition(b"\0")
        if nul and not a:
            names = _names(b)
        elif b and all(_below(path, allowed) for path in (a, b)):
            moves.append((a, b))
        elif b:
            log.error("rename intent leads out, passed over", path=b)
    for a, b in moves:
        try:
            durable.rename(a, b, root, root)
        except (FileNotFoundError, NotADirectoryError, FileExistsError):
            pass  # it was done before the crash, or somebody has taken the name since
    _sync_parents(moves)
    if names is not None:
        after(root, *names)
    durable.unlink(INTENT, root)
    durable.sync(root)
    log.warning("finished a RENAME that was interrupted", folders=len(moves))
    return True


def _names(text: bytes) -> tuple[str, str] | None:
    old, _, new = text.partition(b"\0")
    try:
        return mutf7.decode(old), mutf7.decode(new)
    except ValueError:
        return None


def _below(path: bytes, allowed: tuple[bytes, ...]) -> bool:
    return path.startswith(allowed) and b"/../" not in path + b"/" and b"/./" not in path + b"/"


def _sync_parents(moves: Moves) -> None:
    for parent in {os.path.dirname(path) for pair in moves for path in pair}:
        try:
            fd = descriptors.open_directory(parent)
        except (FileNotFoundError, NotADirectoryError):
            continue  # somebody has removed it since
        try:
            durable.sync(fd)
        finally:
            os.close(fd)
