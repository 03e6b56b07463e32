"""First contact with a folder that another server has kept: its UIDs, UIDVALIDITY and keywords become ours.

Nothing of the other server's is changed here.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.maildir import keywords
from maildir_imapd.store.maildir.filename import LETTERED
from maildir_imapd.store.neighbours import courier_files, dovecot_index, uidlist
from maildir_imapd.store.neighbours.seed import Seed

log = Log(__name__)

DOVECOT = b"dovecot-uidlist"
DOVECOT_KEYWORDS = b"dovecot-keywords"


@dataclass(frozen=True, slots=True)
class Found:
    """Everything of another server's that is in a folder.

    *server* is "dovecot", "courier" or "" for nothing; *words* are keywords by base that no letter in the file name
    stands for: Courier's, and Dovecot's beyond the 26th; *first_recent* is the lowest UID that is \\Recent, 0 if
    that is not known; *problems* is for people.  *closed*: something is there and may not be read, so that nobody can
    say which UIDs clients know.
    """

    server: str = ""
    uids: uidlist.UidList | None = None
    keywords: dict[int, bytes] = field(default_factory=dict)
    words: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    first_recent: int = 0
    problems: tuple[str, ...] = ()
    closed: errors.StoreError | None = None

    def seed(self) -> Seed | None:
        """Return what the index begins with; None where there is nothing to believe.  Raises *closed*.

        The first mod-sequence is the clock in microseconds: far above any that Dovecot counted up to, far
        below what a client can hold, and rising should the folder go back and come again.
        """
        if self.closed is not None:
            # To begin with UIDs of our own would have every client download the folder again.
            raise self.closed
        if self.uids is None:
            return None
        return Seed(
            uidvalidity=self.uids.uidvalidity,
            uidnext=self.uids.uidnext,
            uids=self.uids.uids(),
            keywords=dict(self.keywords),
            modseq=time.time_ns() // 1000,
            first_recent=self.first_recent,
        )


def look(folder: bytes, control: bytes | None = None, index: bytes | None = None) -> Found:
    """See what other servers have left in *folder*, or in *control* and *index*, Dovecot's directories for it."""
    server, name, place = "", b"", folder
    try:
        last = _last(folder, control)
        if last is None:
            return Found()
        server, name, place = last
        data, _ = durable.read_dated(place, name, durable.LARGE_OCTETS)
        if data is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))  # Race: it was there just now
        found = uidlist.parse(data)
        names: dict[int, bytes] = {}
        words: dict[bytes, tuple[bytes, ...]] = {}
        first_recent = 0
        if server == "dovecot":
            name = DOVECOT_KEYWORDS
            data, _ = durable.read_dated(place, name)
            names = keywords.parse(data) if data is not None else {}
            if found is not None:
                name, place = dovecot_index.LOG, index or folder
                known = _own_index(place, found, needed=len(names) == LETTERED)
                first_recent = known.first_recent
                if len(names) == LETTERED:
                    words = _beyond_letters(known, found, names)
        else:
            name = courier_files.KEYWORDS
            words = courier_files.read_keywords(folder)
    except OSError as error:
        return _closed(server, os.path.join(place, name), error)
    problems: tuple[str, ...] = ()
    if found is None:
        problems = ("the file of UIDs cannot be understood",)
        log.warning("another server's UIDs cannot be taken over", path=folder, server=server, why=problems[0])
    elif found.problems:
        problems = found.problems
        log.warning(
            "another server's UIDs are taken over in part", path=folder, server=server, why="; ".join(problems[:5])
        )
    return Found(server, found, names, words, first_recent, problems)


def _last(folder: bytes, control: bytes | None) -> tuple[str, bytes, bytes] | None:
    """Return which server was here last, the name of its list of UIDs and where that lies; raises OSError.

    A list that is not in *control* may be left in the folder, from the time before there was a CONTROL directory.
    Where both servers have been, the file that was written last counts.
    """
    found = []
    theirs = durable.dated(control or folder, DOVECOT)
    if theirs is not None:
        found.append((theirs, "dovecot", DOVECOT, control or folder))
    elif control is not None and (theirs := durable.dated(folder, DOVECOT)) is not None:
        found.append((theirs, "dovecot", DOVECOT, folder))
    theirs = durable.dated(folder, courier_files.UIDDB)
    if theirs is not None:
        found.append((theirs, "courier", courier_files.UIDDB, folder))
    return max(found)[1:] if found else None


def last_server(folder: bytes, control: bytes | None = None) -> str:
    """Return which server was here last, as in Found; "" also where that cannot be seen."""
    try:
        last = _last(folder, control)
    except OSError:
        return ""
    return last[0] if last is not None else ""


def _own_index(index: bytes, uids: uidlist.UidList, *, needed: bool) -> dovecot_index.Remembered:
    """Read Dovecot's own index, as far as it is of the same UIDVALIDITY.

    Raises OSError, but only if it is *needed*: else there is nothing in it but what is \\Recent.
    """
    try:
        files = [
            durable.read_dated(index, name, durable.LARGE_OCTETS)[0]
            for name in (dovecot_index.LOG, dovecot_index.LOG_BEFORE)
        ]
        state = durable.read_dated(index, dovecot_index.INDEX, durable.LARGE_OCTETS)[0]
    except OSError as error:
        if needed:
            raise
        log.warning("cannot read Dovecot's own index", path=index, why=error)
        return dovecot_index.Remembered(())
    known = dovecot_index.read(state, [data for data in files if data], [record.uid for record in uids.records])
    return known if known.uidvalidity in (0, uids.uidvalidity) else dovecot_index.Remembered(())


def seen_by_reader(directory: bytes, uids: Sequence[int], uidvalidity: int) -> frozenset[int]:
    """Return which of others' messages (*uids*, rising) a reader has seen, as Dovecot's private index of his says.

    Where there is none, none that can be read, or one of other UIDs, he has seen nothing.
    """
    try:
        logs = [durable.read_dated(directory, name, durable.LARGE_OCTETS)[0] for name in dovecot_index.PRIVATE_LOGS]
        state = durable.read_dated(directory, dovecot_index.PRIVATE, durable.LARGE_OCTETS)[0]
    except OSError as error:
        log.warning("cannot read Dovecot's private index", path=directory, why=error)
        return frozenset()
    known = dovecot_index.read(state, [data for data in logs if data], uids, private=True)
    return frozenset(known.seen) if known.uidvalidity == uidvalidity else frozenset()


def _beyond_letters(
    known: dovecot_index.Remembered, uids: uidlist.UidList, names: dict[int, bytes]
) -> dict[bytes, tuple[bytes, ...]]:
    """The keywords that Dovecot keeps in its index alone, for all letters have a name already."""
    lettered = {name.lower() for name in names.values()}
    found = {}
    for record in uids.records:
        words = tuple(sorted(word for word in known.words.get(record.uid, ()) if word.lower() not in lettered))
        if words:
            found[record.base] = words
    return found


def _closed(server: str, path: bytes, error: OSError) -> Found:
    """Say that a file of *server*'s is there and what keeps us from reading it."""
    why = os.strerror(error.errno) if error.errno else str(error)
    found = durable.store_error(error, path)
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        found = errors.TakeoverRefused(detail=f"{os.fsdecode(path)}: {why}")
    return Found(
        server, problems=(f"{os.fsdecode(os.path.basename(path.rstrip(b'/')))} cannot be read: {why}",), closed=found
    )
