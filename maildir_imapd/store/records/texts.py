"""The index of an account's texts, as searches ask it: which messages can have a string at all.

``maildir-imapd.texts`` is a database of SQLite: the trigrams of all folded texts (FTS5 without the texts themselves),
which messages they are of, and the texts that were extracted from attachments. ``maildir-imapd.texts.lock`` is locked
by whoever fills it (texts_filling.py), and says in one line which file he has left and in what state:

    maildir-imapd texts 1 <version> <inode> <octets> <mtime> <ctime>

It only proposes, and the message decides: what it holds of a message counts as long as that has the fingerprint
(scan.py) under which it was read, and any other message is proposed always. So all of it may be gone, old or of
another account. What it must not be is damaged without our noticing, for then it would leave messages out: so it is
believed only where the file is the very one that was left, which nobody has written to since. Another program cannot
write to a file and leave its ctime.

No error in here is more than no index: searches read the messages then.
"""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import sys
import time
import unicodedata
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar
from urllib.parse import quote

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.index.snapshot import Snapshot

log = Log(__name__)

T = TypeVar("T")

FILE: Final = b"maildir-imapd.texts"
LOCK: Final = b"maildir-imapd.texts.lock"
ROLLBACK: Final = FILE + b"-journal"  # SQLite's own name for it

# Of what texts become before they are indexed: ours (message/text.py: whoever changes what is folded there counts it
# up), and Python's decoding and Unicode's letters, which change from one to the next.
_FOLDING: Final = 1
VERSION: Final = b"%d-%d.%d-%b" % (_FOLDING, *sys.version_info[:2], unicodedata.unidata_version.encode())

# Characters that are looked up together; shorter strings are not in the index.
GRAM: Final = 3
# We have folded both sides ourselves.
TOKENS: Final = "trigram case_sensitive 1"
# Of a row of the index: what it is of.
HEAD, BODY, EXTRACT = 0, 1, 2
# A row's number: the folder's, the UID, the kind.
_KIND_BITS: Final = 2
_UID_BITS: Final = 32
FOLDERS: Final = 1 << 28
# What is known of messages lies together for so many UIDs: (UID, 4 octets each), (fingerprint, 8 each).
CHUNK_BITS: Final = 10
_KNOWN_OCTETS: Final = 12

# Of a long string so many trigrams are looked up: more hardly leave anything out.
_GRAMS: Final = 48
# A search that takes longer may as well read.
_PATIENCE_SECONDS: Final = 5.0
_STEPS: Final = 20_000  # of SQLite's machine, between two looks at the clock
# While somebody fills it there are moments in which his line is not of the file.
_TRIES: Final = 10
_PAUSE_SECONDS: Final = 0.002
LINE_OCTETS: Final = 256
# The largest value that we take out of the database.
VALUE_OCTETS: Final = 64 << 20
EXTRACT_CHARACTERS: Final = 4 << 20
_MESSAGES: Final = 8 << 20

_UNFIT: Final = re.compile("[\0\ud800-\udfff]")
_INSTEAD: Final = "\ufffd"
_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def available() -> bool:
    """Whether the SQLite of this Python can keep such an index."""
    try:
        connection = sqlite3.connect(":memory:")
        try:
            connection.execute(f"CREATE VIRTUAL TABLE t USING fts5(x, tokenize = '{TOKENS}')")
        finally:
            connection.close()
    except sqlite3.Error:
        return False
    return True


def fit(text: str) -> str:
    """Bring a text, or what is looked for, to what SQLite takes; one character stays one."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _UNFIT.sub(_INSTEAD, text)
    return text.replace("\0", _INSTEAD) if "\0" in text else text


def first_row(folder: int, uid: int = 0) -> int:
    """Return the number of the first row of a message, or of a folder."""
    return (folder << _UID_BITS | uid) << _KIND_BITS


def first_chunk(folder: int, uid: int = 0) -> int:
    """Return the number of the row in which what is known of a message lies; without *uid* the folder's first."""
    return folder << _UID_BITS - CHUNK_BITS | uid >> CHUNK_BITS


def render_known(uids: Sequence[int], fingerprints: Sequence[int]) -> bytes:
    """Write down what is known of some messages."""
    one, other = array("I", uids), array("Q", fingerprints)
    if sys.byteorder == "big":
        one.byteswap()
        other.byteswap()
    return one.tobytes() + other.tobytes()


def parse_known(data: bytes) -> tuple[array[int], array[int]]:
    """Read what ``render_known`` wrote; raises ValueError."""
    count, rest = divmod(len(data), _KNOWN_OCTETS)
    if rest:
        raise ValueError("messages that are not whole")
    uids, fingerprints = array("I"), array("Q")
    uids.frombytes(data[: 4 * count])
    fingerprints.frombytes(data[4 * count :])
    if sys.byteorder == "big":
        uids.byteswap()
        fingerprints.byteswap()
    return uids, fingerprints


# --- which file it is -------------------------------------------------------------------------------


class LeftAs(NamedTuple):
    """The file, and the state that it is in."""

    inode: int
    octets: int
    mtime_ns: int
    ctime_ns: int


def stamp(directory: int) -> LeftAs | None:
    """Look at the file; None where there is none, or something else. Raises OSError."""
    try:
        state = os.stat(FILE, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
        return None
    return LeftAs(state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def render_line(version: bytes, left: LeftAs) -> bytes:
    """Write down in which state the file was left, in as many octets as always."""
    return (b"maildir-imapd texts 1 %b %d %d %d %d\n" % (version, *left)).ljust(LINE_OCTETS)


def parse_line(line: bytes) -> tuple[bytes, LeftAs] | None:
    """Read the version and the state in which the file was left; None for what nobody has written whole."""
    found = _LINE(line)
    return None if found is None else (found[1], LeftAs(*map(int, found.groups()[1:])))


_LINE: Final = re.compile(
    rb"maildir-imapd texts 1 (\S+) (\d{1,20}) (\d{1,20}) (\d{1,20}) (\d{1,20})\n", re.DOTALL
).match


class Inventory(NamedTuple):
    """How large an index is: messages that are there, that are gone, and with a text of attachments; octets."""

    messages: int
    dead: int
    extracts: int
    octets: int


def connect(directory: bytes, how: str, patience: float = 0.0) -> sqlite3.Connection:
    """Open the database, *how* as its URI says it; *patience* in seconds. Raises sqlite3.Error.

    It is the user's file: nothing of it is mapped, and nothing that its schema says is done but what we ask.
    """
    where = f"file:{quote(os.path.join(directory, FILE))}?{how}"
    connection = sqlite3.connect(where, uri=True, timeout=patience, isolation_level=None)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_OCTETS)
        for pragma in ("mmap_size = 0", "trusted_schema = 0", "cell_size_check = 1", "temp_store = 2"):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


# --- asking it --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proposal:
    """Which of the messages that were asked about need a look: positions, rising.

    *read* may have the string, or are not in the index; *found* have it in what was extracted from them. *whole*: all
    are in the index.
    """

    read: list[int]
    found: list[int]
    whole: bool


class Texts:
    """One account's index in *directory*; safe from any thread, and nothing of it stays open.

    *wanted* is called, without locks and from any thread, with the path of a folder that is to be indexed; None: this
    user has no index, and what lies there is not asked.
    """

    def __init__(self, directory: bytes, version: bytes = VERSION) -> None:
        self.directory = directory
        self.version = version
        self.wanted: Callable[[bytes], None] | None = None

    def want(self, path: bytes) -> None:
        """Ask for the folder at *path* to be indexed; never an error, and nothing waits."""
        wanted = self.wanted
        if wanted is not None:
            wanted(path)

    def propose(
        self,
        key: bytes,
        rows: Snapshot,
        among: Sequence[int],
        needle: str,
        *,
        body_only: bool,
        attend: Callable[[], None] = lambda: None,
    ) -> Proposal | None:
        """Say which messages of *rows* at the positions *among* may contain *needle*, which has been folded.

        *key* is the folder's. *attend* is called, without locks, while extracted texts are looked at, and may raise.
        None where the index cannot say, and all must be read.
        """
        needle = fit(needle)
        if self.wanted is None or len(needle) < GRAM:
            return None
        # Such as are not there yet are fetched here, where nothing is open: that takes locks, and may fail.
        if len(rows.uids) != len(rows.fingerprints):
            return None

        def work(connection: sqlite3.Connection) -> Proposal:
            proposal, extracts = _propose(connection, key, rows, among, needle, body_only=body_only)
            for at, number in extracts:
                attend()
                if needle in _extract(connection, number):
                    proposal.found.append(at)
            return proposal

        return self._ask(work)

    def extent(self) -> Inventory | None:
        """Say how large it is; None where there is none that can be used now."""
        return self._ask(extent)

    def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """Return what *work* finds in a state of the file that stays what it is meanwhile; None for no index.

        There are no locks: nobody waits for who fills it, nor he for us. A state that has changed under our hands is
        no state, whatever was found in it; he sees to it that each of his has a ctime of its own.
        """
        try:
            directory = descriptors.open_directory(self.directory)
        except OSError:
            return None
        try:
            for attempt in range(_TRIES):
                if attempt:
                    time.sleep(_PAUSE_SECONDS)
                left, there = self._states(directory)
                if left is None:
                    return None
                if left != there:
                    continue
                trouble: Exception | None = None
                try:
                    found = self._work(work)
                except (sqlite3.Error, ValueError, zlib.error) as error:
                    trouble = error
                if self._states(directory) != (left, left):
                    continue
                if trouble is None:
                    return found
                self._failed(trouble, directory)
                return None
        finally:
            os.close(directory)
        return None

    def _work(self, work: Callable[[sqlite3.Connection], T]) -> T:
        connection = connect(self.directory, "mode=ro&immutable=1")
        try:
            connection.set_progress_handler(_deadline(_PATIENCE_SECONDS), _STEPS)
            return work(connection)
        finally:
            connection.close()

    def _states(self, directory: int) -> tuple[LeftAs | None, LeftAs | None]:
        """In which state the file was left, and in which it is; None where it is none that we could use."""
        try:
            found = parse_line(durable.read_file(LOCK, directory, LINE_OCTETS))
            return None if found is None or found[0] != self.version else found[1], stamp(directory)
        except FileNotFoundError:
            return None, None
        except OSError as error:
            log.info("index of texts not read", path=self.directory, why=error)
            return None, None

    def _failed(self, error: Exception, directory: int) -> None:
        """Note that it cannot be asked; a damaged one is taken away, so that it is made anew."""
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
        if code not in _DAMAGE:
            log.info("index of texts not read", path=self.directory, why=error)
            return
        log.warning("index of texts is damaged, it is made anew", path=self.directory, why=error)
        try:
            durable.unlink(FILE, directory)
        except OSError as trouble:
            log.info("damaged index of texts stays", path=self.directory, why=trouble)


def _deadline(patience: float) -> Callable[[], bool]:
    """Return what says whether so many seconds have passed since."""
    end = time.monotonic() + patience
    return lambda: time.monotonic() > end


def _propose(
    connection: sqlite3.Connection, key: bytes, rows: Snapshot, among: Sequence[int], needle: str, *, body_only: bool
) -> tuple[Proposal, list[tuple[int, int]]]:
    """Return the proposal, and the positions and rows of extracted texts that may have it."""
    folder = number_of(connection, key)
    if folder is None:
        return Proposal(list(among), [], whole=False), []
    unknown = _unknown(known(connection, folder), rows)
    asked = among if isinstance(among, range) else set(among)
    may, extracts = set(unknown), []
    for number in _hits(connection, folder, needle):
        uid, kind = number >> _KIND_BITS & (1 << _UID_BITS) - 1, number & (1 << _KIND_BITS) - 1
        at = rows.position(uid)
        if at < 0 or (body_only and kind == HEAD):
            continue
        if kind != EXTRACT:
            may.add(at)
        elif at not in may and at in asked:
            extracts.append((at, number))
    return Proposal(sorted(at for at in may if at in asked), [], whole=not unknown), extracts


def extent(connection: sqlite3.Connection) -> Inventory:
    """Count what there is; raises sqlite3.Error."""
    return Inventory(
        *connection.execute(
            "SELECT (SELECT coalesce(sum(length(data)), 0) / ? FROM known),"
            " (SELECT coalesce(sum(dead), 0) FROM folders), (SELECT count(*) FROM extracts),"
            " page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            (_KNOWN_OCTETS,),
        ).fetchone()
    )


def number_of(connection: sqlite3.Connection, key: bytes) -> int | None:
    """Return the number of the folder with this key, None for one that is not known. Raises sqlite3.Error."""
    row = connection.execute("SELECT number FROM folders WHERE key = ?", (key,)).fetchone()
    return None if row is None else int(row[0])


def known(connection: sqlite3.Connection, folder: int) -> tuple[array[int], array[int]]:
    """Return the UIDs of which the texts are there, and under which fingerprints; raises sqlite3.Error, ValueError."""
    uids, fingerprints = array("I"), array("Q")
    span = first_chunk(folder), first_chunk(folder + 1) - 1
    for (data,) in connection.execute("SELECT data FROM known WHERE number BETWEEN ? AND ? ORDER BY number", span):
        one, other = parse_known(data)
        uids += one
        fingerprints += other
        if len(uids) > _MESSAGES:
            raise ValueError("more messages than there can be")
    return uids, fingerprints


def _unknown(of: tuple[array[int], array[int]], rows: Snapshot) -> Sequence[int]:
    """Return the positions of messages that the index has not, or as they were before somebody wrote to them."""
    uids, fingerprints = of
    count = len(uids)
    if uids == rows.uids[:count] and fingerprints == rows.fingerprints[:count]:
        return range(count, len(rows))
    there = dict(zip(uids, fingerprints, strict=True)).get
    return [at for at, (uid, seen) in enumerate(zip(rows.uids, rows.fingerprints, strict=True)) if there(uid) != seen]


def _hits(connection: sqlite3.Connection, folder: int, needle: str) -> Iterable[int]:
    """Return the rows of a folder that have all trigrams of *needle*. One row of SQLite's: each gives the lock away."""
    grams = list(dict.fromkeys(needle[at : at + GRAM] for at in range(len(needle) - GRAM + 1)))
    if len(grams) > _GRAMS:
        grams = grams[:: -(-len(grams) // _GRAMS)]
    wanted = " AND ".join(['"' + gram.replace('"', '""') + '"' for gram in grams])
    found = connection.execute(
        "SELECT group_concat(rowid) FROM texts WHERE texts MATCH ? AND rowid BETWEEN ? AND ?",
        (wanted, first_row(folder), first_row(folder + 1) - 1),
    ).fetchone()[0]
    return map(int, found.split(",")) if found else ()


def _extract(connection: sqlite3.Connection, number: int) -> str:
    """Return what was extracted from the attachments of a message; raises zlib.error, ValueError."""
    row = connection.execute("SELECT text FROM extracts WHERE number = ?", (number,)).fetchone()
    if row is None:
        return ""
    unpacker = zlib.decompressobj()
    return unpacker.decompress(row[0], 4 * EXTRACT_CHARACTERS).decode()
