"""Filling the index of an account's texts (texts.py): one process at a time, in batches that are whole or not at all.

SQLite writes the file, with a journal beside it from which it takes a batch back that was not whole. There is no
write-ahead log, for its index is mapped by all who read, and a file of the user's is never mapped (docs/rules.md, D8).
What SQLite does to the disk it does by itself; the crash tests die around it (``durable.about``).
"""

from __future__ import annotations

import os
import sqlite3
import time
import zlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Final

from maildir_imapd import errors
from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable, filesystems
from maildir_imapd.store.records import texts
from maildir_imapd.store.records.texts import BODY, EXTRACT, FILE, HEAD, LOCK, ROLLBACK, TOKENS, Inventory, LeftAs
from maildir_imapd.store.threads import locks
from maildir_imapd.store.threads.locks import Rank

log = Log(__name__)

# Seconds for which another that has the database open is waited for: searches never have.
_BUSY_SECONDS: Final = 5.0
# Nanoseconds between two states of the file: more than the grain of the clock, so that each has a ctime of its own.
_GRAIN_NS: Final = 20_000_000
# What is given to SQLite at once; more makes a message's rows in pieces.
_ROW_CHARACTERS: Final = 1 << 20
# Octets of new trigrams that are held before they are sorted in: fewer and larger pieces cost less later.
_HASH_OCTETS: Final = 8 << 20
# Octets that are left on the file system for mail.
ROOM_OCTETS: Final = 64 << 20
# Messages that are gone, beyond which, and beyond those that are there, the index is begun anew.
_DEAD_MESSAGES: Final = 1000

_SCHEMA: Final = (
    "PRAGMA journal_mode = TRUNCATE",
    "PRAGMA auto_vacuum = NONE",
    "BEGIN IMMEDIATE",
    # A number is given once: under it there may be trigrams of what is gone.
    "CREATE TABLE folders (number INTEGER PRIMARY KEY AUTOINCREMENT, key BLOB UNIQUE, dead INTEGER NOT NULL DEFAULT 0)",
    "INSERT INTO folders (key) VALUES (NULL)",  # of folders that are gone
    "CREATE TABLE known (number INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE extracts (number INTEGER PRIMARY KEY, text BLOB NOT NULL)",
    f"CREATE VIRTUAL TABLE texts USING fts5(text, content = '', detail = none, columnsize = 0, tokenize = '{TOKENS}')",
    "COMMIT",
)


class Filling:
    """The right to fill the index in *directory*, for the time of a ``with`` block.

    Entering raises LockTimeout where somebody fills it already, DiskFull, StoreError; so do all methods. What is not
    committed is gone.
    """

    def __init__(self, directory: bytes, version: bytes = texts.VERSION) -> None:
        self._path = directory
        self._version = version
        self._undo = ExitStack()
        self._left: LeftAs | None = None
        self._within = False  # a batch has begun
        self._fresh: dict[int, dict[int, int]] = {}  # by folder: fingerprints by UID, not yet written
        self._directory = self._lock = -1
        self._opened = ExitStack()  # closes the connection
        self._connection: sqlite3.Connection

    def __enter__(self) -> Filling:
        with ExitStack() as undo, _as_store_error(self._path):
            os.makedirs(self._path, mode=0o700, exist_ok=True)
            self._directory = descriptors.open_directory(self._path)
            undo.callback(os.close, self._directory)
            kind = filesystems.shared_at(self._directory)
            if kind is not None:
                raise errors.StoreError(detail=f"{os.fsdecode(self._path)}: no index of texts on {kind}")
            self._lock = durable.open_lasting(LOCK, self._directory, 0o600)
            undo.callback(os.close, self._lock)
            locks.flock(self._lock, self._path + b"/" + LOCK, 0, rank=Rank.TEXTS)
            undo.callback(locks.unlock, self._lock, rank=Rank.TEXTS)
            undo.callback(self._opened.close)
            self._open()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    # --- the file ---------------------------------------------------------------------------------

    def _open(self) -> None:
        """Open the file that was left, or make another; raises OSError, sqlite3.Error."""
        found = texts.parse_line(os.pread(self._lock, texts.LINE_OCTETS, 0))
        there = texts.stamp(self._directory)
        if found is None or there is None or found != (self._version, there):
            why = "it is not as it was left" if found is not None and found[0] == self._version else "another version"
            if there is not None:
                log.info("index of texts begun anew", path=self._path, why=why)
            self._make()
            return
        self._left = there
        self._connect()
        try:
            # What a dead process left half done is taken back by the first look.
            self._connection.execute("SELECT count(*) FROM folders").fetchone()
            self._prepare()
            self._note()
        except sqlite3.DatabaseError as error:
            self._opened.close()
            log.warning("index of texts is damaged, it is made anew", path=self._path, why=error)
            self._make()

    def _connect(self) -> None:
        self._connection = texts.connect(self._path, "mode=rw", _BUSY_SECONDS)
        self._opened.callback(self._connection.close)

    def _make(self) -> None:
        for name in (FILE, ROLLBACK):
            try:
                durable.unlink(name, self._directory)
            except FileNotFoundError:
                pass
        os.close(durable.create(FILE, self._directory, 0o600))
        self._connect()
        for statement in _SCHEMA:
            self._connection.execute(statement)
        self._connection.execute("INSERT INTO texts (texts, rank) VALUES ('hashsize', ?)", (_HASH_OCTETS,))
        self._prepare()
        self._note()

    def _prepare(self) -> None:
        # Pages that do not fit stay in memory: written before the end of a batch they would keep all searches out.
        for pragma in ("journal_mode = TRUNCATE", "synchronous = FULL", "cache_spill = 0", "cache_size = -8192"):
            self._connection.execute(f"PRAGMA {pragma}")

    def _note(self) -> None:
        """Note in which state the file is left; raises OSError."""
        left = texts.stamp(self._directory)
        if left is None:
            raise errors.StoreError(detail=f"{os.fsdecode(self._path)}: the index of texts was taken away")
        durable.write_at(self._lock, texts.render_line(self._version, left), 0)
        if os.fstat(self._lock).st_size != texts.LINE_OCTETS:
            durable.truncate(self._lock, texts.LINE_OCTETS)
        self._left = left

    def begin_anew(self) -> None:
        """Throw away what there is, and begin with nothing."""
        with _as_store_error(self._path):
            self._opened.close()
            self._within, self._fresh = False, {}
            self._make()

    # --- what is in it ----------------------------------------------------------------------------

    def folder(self, key: bytes) -> int:
        """Return the number of a folder, which is given one if it has none."""
        with _as_store_error(self._path):
            found = texts.number_of(self._connection, key)
            if found is None:
                self._begin()
                cursor = self._connection.execute("INSERT INTO folders (key) VALUES (?)", (key,))
                found = int(cursor.lastrowid or 0)
                if not 0 < found < texts.FOLDERS:
                    raise errors.StoreError(detail=f"{os.fsdecode(self._path)}: too many folders in the index of texts")
            return found

    def known(self, folder: int) -> tuple[array[int], array[int]]:
        """Return the UIDs of which the texts are there, and their fingerprints."""
        with _as_store_error(self._path):
            return texts.known(self._connection, folder)

    def extent(self) -> Inventory:
        """Count what there is."""
        with _as_store_error(self._path):
            return texts.extent(self._connection)

    @property
    def mostly_dead(self) -> bool:
        """Whether most of it is of messages that are gone, so that it is time to begin anew."""
        extent = self.extent()
        return extent.dead > max(extent.messages, _DEAD_MESSAGES)

    # --- changing it ------------------------------------------------------------------------------

    def put(self, folder: int, uid: int, fingerprint: int, found: Iterable[tuple[bool, str]], extract: str = "") -> int:
        """Take in a message: its folded texts, each with whether it is of the body, and what was extracted from it.

        Of one that was here before what it had then stays: it is proposed too often, and never too rarely. Returns how
        many characters it were.
        """
        with _as_store_error(self._path):
            self._begin()
            size = 0
            row = texts.first_row(folder, uid)
            gathered: dict[int, list[str]] = {HEAD: [], BODY: []}
            held = {HEAD: 0, BODY: 0}
            for of_body, text in found:
                kind = BODY if of_body else HEAD
                gathered[kind].append(text)
                held[kind] += len(text)
                size += len(text)
                if held[kind] > _ROW_CHARACTERS:
                    self._insert(row | kind, gathered[kind])
                    gathered[kind], held[kind] = [], 0
            for kind, some in gathered.items():
                self._insert(row | kind, some)
            self._connection.execute("DELETE FROM extracts WHERE number = ?", (row | EXTRACT,))
            if extract:
                extract = texts.fit(extract[: texts.EXTRACT_CHARACTERS])
                self._insert(row | EXTRACT, [extract])
                packed = zlib.compress(extract.encode(), 6)
                self._connection.execute("INSERT INTO extracts VALUES (?, ?)", (row | EXTRACT, packed))
            self._fresh.setdefault(folder, {})[uid] = fingerprint
            return size + len(extract)

    def _insert(self, row: int, some: Sequence[str]) -> None:
        # Between two texts stands what nobody can look for.
        text = texts.fit("\0".join(some))
        if len(text) >= texts.GRAM:
            self._connection.execute("INSERT INTO texts (rowid, text) VALUES (?, ?)", (row, text))

    def forget(self, folder: int, uids: Iterable[int]) -> None:
        """Forget messages that are gone; their trigrams stay, and propose nothing."""
        gone = list(uids)
        if not gone:
            return
        with _as_store_error(self._path):
            self._begin()
            self._change(folder, dict.fromkeys(gone))
            for uid in gone:
                self._connection.execute(
                    "DELETE FROM extracts WHERE number = ?", (texts.first_row(folder, uid) | EXTRACT,)
                )

    def forget_others(self, keys: Iterable[bytes]) -> None:
        """Forget all folders but those with these keys."""
        there = self.folders()
        for key in set(there).difference(keys):
            number = there[key]
            self.forget(number, self.known(number)[0])
            with _as_store_error(self._path):
                self._begin()
                self._connection.execute(
                    "UPDATE folders SET dead = dead + (SELECT dead FROM folders WHERE number = ?) WHERE key IS NULL",
                    (number,),
                )
                self._connection.execute("DELETE FROM folders WHERE number = ?", (number,))

    def folders(self) -> dict[bytes, int]:
        """Return the folders that are known: numbers by key."""
        with _as_store_error(self._path):
            return dict(self._connection.execute("SELECT key, number FROM folders WHERE key IS NOT NULL").fetchall())

    def _change(self, folder: int, messages: dict[int, int | None]) -> None:
        """Write down fingerprints by UID, None for what is gone."""
        chunks: dict[int, dict[int, int | None]] = {}
        for uid, fingerprint in messages.items():
            chunks.setdefault(texts.first_chunk(folder, uid), {})[uid] = fingerprint
        dead = 0
        for chunk, some in chunks.items():
            row = self._connection.execute("SELECT data FROM known WHERE number = ?", (chunk,)).fetchone()
            before = dict(zip(*texts.parse_known(row[0]), strict=True)) if row is not None else {}
            # What had other texts before is dead, too.
            dead += len(before.keys() & some.keys())
            after = {uid: seen for uid, seen in sorted({**before, **some}.items()) if seen is not None}
            if after:
                data = texts.render_known(list(after), list(after.values()))
                self._connection.execute("REPLACE INTO known VALUES (?, ?)", (chunk, data))
            else:
                self._connection.execute("DELETE FROM known WHERE number = ?", (chunk,))
        self._connection.execute("UPDATE folders SET dead = dead + ? WHERE number = ?", (dead, folder))

    # --- batches ----------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._within:
            return
        room = os.fstatvfs(self._directory)
        if room.f_bavail * room.f_frsize < ROOM_OCTETS:
            raise errors.DiskFull(detail=f"{os.fsdecode(self._path)}: what is left is for mail")
        if texts.stamp(self._directory) != self._left:
            raise errors.StoreError(detail=f"{os.fsdecode(self._path)}: somebody has written to the index of texts")
        durable.about("begin", FILE)
        self._connection.execute("BEGIN IMMEDIATE")
        self._within = True

    def commit(self) -> None:
        """Write what was put and forgotten; it is on the disk when this returns, all of it or nothing."""
        if not self._within:
            return
        with _as_store_error(self._path):
            for folder, messages in self._fresh.items():
                self._change(folder, dict(messages))
            self._fresh = {}
            durable.about("commit", FILE)
            # What SQLite has to say to the file is said at the end of a batch, and no earlier (cache_spill).
            if self._left is not None and (early := self._left.ctime_ns + _GRAIN_NS - time.time_ns()) > 0:
                time.sleep(min(early, _GRAIN_NS) / 1e9)
            self._connection.execute("COMMIT")
            self._within = False
            durable.about("committed", FILE)
            self._note()


@contextmanager
def _as_store_error(path: bytes) -> Iterator[None]:
    """Turn what SQLite and the system say into StoreErrors that name the place."""
    try:
        with durable.as_store_error(path):
            yield
    except (sqlite3.Error, ValueError) as error:
        full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        sort = errors.DiskFull if full else errors.StoreError
        raise sort(detail=f"{os.fsdecode(path)}: index of texts: {error}") from error


def remove(directory: bytes) -> None:
    """Take an index away, whoever fills it; raises StoreError."""
    try:
        number = descriptors.open_directory(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        raise durable.store_error(error, directory) from error
    try:
        for name in (FILE, ROLLBACK, LOCK):
            try:
                durable.unlink(name, number)
            except FileNotFoundError:
                pass
    except OSError as error:
        raise durable.store_error(error, directory) from error
    finally:
        os.close(number)
