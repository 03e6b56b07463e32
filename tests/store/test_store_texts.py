"""The index of texts on the disk: who may fill it, what ends a filling, and what is left of it."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from array import array
from pathlib import Path

import pytest
from nobody import as_nobody

from maildir_imapd import errors
from maildir_imapd.store.disk import durable, filesystems
from maildir_imapd.store.index.snapshot import Snapshot
from maildir_imapd.store.records import texts, texts_filling
from maildir_imapd.store.records.texts import FILE, LOCK, ROLLBACK, Texts
from maildir_imapd.store.records.texts_filling import Filling

KEY = b"F1"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n)"


def leave_as_ours(path: Path) -> None:
    """Write the line that says that the file is as whoever filled it has left it."""
    directory = os.open(path, os.O_RDONLY)
    left = texts.stamp(directory)
    os.close(directory)
    assert left is not None
    (path / os.fsdecode(LOCK)).write_bytes(texts.render_line(texts.VERSION, left))


def put(filling: Filling, uid: int, text: str, key: bytes = KEY, fingerprint: int = 7) -> None:
    filling.put(filling.folder(key), uid, fingerprint, [(True, text)])


def rows(*uids: int, fingerprint: int = 7) -> Snapshot:
    """A snapshot in which these messages are."""
    count = len(uids)
    columns = {
        "uids": array("I", uids),
        "flags": array("Q", [0] * count),
        "modseqs": array("Q", [1] * count),
        "received": array("q", [0] * count),
        "saved": array("q", [0] * count),
        "sizes": array("Q", [0] * count),
        "fingerprints": array("Q", [fingerprint] * count),
    }
    names = [b"%d" % uid for uid in uids]
    return Snapshot(columns, names, uidvalidity=1, uidnext=max(uids, default=0) + 1, modseq=1)


def asked(directory: Path, needle: str, snapshot: Snapshot, key: bytes = KEY) -> list[int] | None:
    """The UIDs that are to be read; None for all, because the index cannot say."""
    index = Texts(os.fsencode(directory))
    index.wanted = lambda path: None
    proposal = index.propose(key, snapshot, range(len(snapshot)), needle, body_only=True)
    return None if proposal is None else [snapshot.uids[at] for at in proposal.read]


def test_what_is_put_is_proposed_once_it_is_committed(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 5, "ONE TWO")
        put(filling, 6, "TWO THREE")
        assert asked(tmp_path, "TWO", rows(5, 6)) == [5, 6], "nothing is in it, so all are read"
        filling.commit()
        assert asked(tmp_path, "ONE", rows(5, 6)) == [5]
        put(filling, 7, "ONE MORE")
    assert asked(tmp_path, "ONE", rows(5, 6, 7)) == [5, 7], "what was not committed is gone"
    assert asked(tmp_path, "THREE", rows(5, 6)) == [6]


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    os.umask(0o022)
    with Filling(os.fsencode(tmp_path / "made" / "for it")) as filling:
        put(filling, 1, "TEXT")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "made" / "for it").iterdir()}
        filling.commit()
    assert modes == {os.fsdecode(name): 0o600 for name in (FILE, LOCK, ROLLBACK)}
    assert stat.S_IMODE((tmp_path / "made" / "for it").stat().st_mode) == 0o700


def test_one_at_a_time(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)), pytest.raises(errors.LockTimeout), Filling(os.fsencode(tmp_path)):
        pass
    with Filling(os.fsencode(tmp_path)):
        pass


def test_folders_are_told_apart(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "IN THE FIRST", key=b"A")
        put(filling, 1, "IN THE SECOND", key=b"B")
        put(filling, 2**32 - 2, "IN THE LAST", key=b"B")
        filling.commit()
    assert asked(tmp_path, "SECOND", rows(1), key=b"A") == []
    assert asked(tmp_path, "THE", rows(1, 2**32 - 2), key=b"B") == [1, 2**32 - 2]
    assert asked(tmp_path, "LAST", rows(1, 2**32 - 2), key=b"B") == [2**32 - 2]
    assert asked(tmp_path, "THE", rows(1, 2), key=b"C") == [1, 2]


def test_another_fingerprint_is_another_message(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "BEFORE")
        put(filling, 2, "BEFORE")
        filling.commit()
    later = rows(1, 2)
    later.fingerprints[1] = 8
    assert asked(tmp_path, "NOWHERE", later) == [2]
    later.fingerprints[1] = 0
    assert asked(tmp_path, "NOWHERE", later) == [2]


def test_a_long_text_is_taken_in_by_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_filling, "_ROW_CHARACTERS", 10)
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 3, "THE NEXT")
        some = [(number % 2 == 0, f"PIECE {number:06}") for number in range(9)]
        filling.put(filling.folder(KEY), 2, 7, some)
        filling.commit()
    for number in range(9):
        proposed = asked(tmp_path, f"{number:06}", rows(2, 3))
        assert proposed == ([2] if number % 2 == 0 else [])


def test_what_was_there_before_is_proposed_too_often_and_never_too_rarely(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "BEFORE")
        filling.commit()
        put(filling, 1, "AFTERWARDS", fingerprint=8)
        filling.commit()
    assert asked(tmp_path, "AFTERWARDS", rows(1, fingerprint=8)) == [1]


def test_what_is_gone_counts_as_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_filling, "_DEAD_MESSAGES", 2)
    with Filling(os.fsencode(tmp_path)) as filling:
        for uid in range(1, 6):
            put(filling, uid, "TEXT")
        put(filling, 1, "TEXT", key=b"other")
        filling.commit()
        folder = filling.folder(KEY)
        filling.forget(folder, [1, 2])
        assert filling.extent()[:2] == (4, 2)
        assert not filling.mostly_dead
        filling.forget_others([b"other"])
        assert filling.extent()[:2] == (1, 5)
        assert list(filling.folders()) == [b"other"]
        assert filling.folder(KEY) not in (folder, filling.folders()[b"other"]), "no number is given twice"
        assert filling.mostly_dead
        filling.begin_anew()
        assert filling.extent()[:2] == (0, 0)


def test_a_search_and_a_filling_wait_for_nobody(tmp_path: Path) -> None:
    """A search that finds the state changed under its hands asks again."""
    index = Texts(os.fsencode(tmp_path))
    seen = []
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()

        def work(connection: sqlite3.Connection) -> int:
            found = len(texts.known(connection, texts.number_of(connection, KEY) or 0)[0])
            if not seen:
                put(filling, 2, "TEXT")
                filling.commit()
            seen.append(found)
            return found

        assert index._ask(work) == 2
    assert seen == [1, 2]


def test_two_states_never_look_alike(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        states = set()
        for uid in range(1, 6):
            put(filling, uid, "TEXT")
            filling.commit()
            assert filling._left is not None
            states.add(filling._left.ctime_ns)
    assert len(states) == 5


def test_what_cannot_be_read_in_a_state_that_has_passed_is_no_damage(tmp_path: Path) -> None:
    index = Texts(os.fsencode(tmp_path))
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
        tried = []

        def work(connection: sqlite3.Connection) -> int:
            tried.append(1)
            if len(tried) == 1:
                put(filling, 2, "TEXT")
                filling.commit()
                raise ValueError("half of this and half of that")
            return len(tried)

        assert index._ask(work) == 2
    assert asked(tmp_path, "TEXT", rows(1, 2)) == [1, 2]


def test_a_database_that_would_be_mapped_is_not(tmp_path: Path) -> None:
    """With a write-ahead log SQLite maps a file beside it, which its owner may cut (rule D8)."""
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
    path = tmp_path / os.fsdecode(FILE)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("INSERT INTO folders (key) VALUES ('x')")
    connection.commit()
    leave_as_ours(tmp_path)

    def maps(reading: sqlite3.Connection) -> int:
        reading.execute("SELECT * FROM folders").fetchall()
        return Path("/proc/self/maps").read_text().count(str(tmp_path))

    # The connection of the other has it mapped in this very process: ours adds nothing to that.
    before = Path("/proc/self/maps").read_text().count(str(tmp_path))
    assert before > 0
    assert Texts(os.fsencode(tmp_path))._ask(maps) in (None, before)
    connection.close()


@pytest.mark.parametrize(
    "schema",
    [
        f"CREATE VIEW known AS {ENDLESS} SELECT x AS number, zeroblob(12) AS data FROM n",
        "CREATE TABLE known (number, data)",
        "CREATE VIEW known AS SELECT 1 << 22 AS number, zeroblob(13) AS data",
        "CREATE VIEW known AS SELECT 1 << 22 AS number, 'text' AS data",
        "CREATE VIEW known AS SELECT load_extension('x') AS number, 1 AS data",
    ],
)
def test_what_its_owner_makes_of_it_costs_him_alone(
    tmp_path: Path, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He has left a database of his own, with our line beside it."""
    monkeypatch.setattr(texts, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(texts, "_MESSAGES", 10_000)
    connection = sqlite3.connect(tmp_path / os.fsdecode(FILE))
    connection.execute("CREATE TABLE folders (number, key)")
    connection.execute("INSERT INTO folders VALUES (1, ?)", (KEY,))
    connection.execute(schema)
    connection.execute("CREATE TABLE texts (texts)")
    connection.commit()
    connection.close()
    leave_as_ours(tmp_path)
    assert asked(tmp_path, "TEXT", rows(1)) in (None, [1])


def test_a_full_disk_is_said_and_leaves_what_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
        monkeypatch.setattr(texts_filling, "ROOM_OCTETS", 1 << 62)
        with pytest.raises(errors.DiskFull):
            put(filling, 2, "TEXT")
    assert asked(tmp_path, "NONE", rows(1, 2)) == [2]


def test_sqlite_without_room(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
        pages = filling._connection.execute("PRAGMA page_count").fetchone()[0]
        filling._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(errors.DiskFull):
            for uid in range(2, 3000):
                put(filling, uid, f"ANOTHER TEXT {uid * 7919}")
            filling.commit()
    assert asked(tmp_path, "NONE", rows(1, 2)) == [2]
    with Filling(os.fsencode(tmp_path)) as filling:
        assert filling.extent().messages == 1


def test_a_spool_that_is_not_ours_to_write(tmp_path: Path) -> None:
    for above in (tmp_path, *tmp_path.parents[:2]):
        above.chmod(above.stat().st_mode | 0o055)
    spool = tmp_path / "spool"
    spool.mkdir(0o555)

    def work() -> None:
        with pytest.raises(errors.StoreError), Filling(os.fsencode(spool)):
            pass

    as_nobody(work)
    assert list(spool.iterdir()) == []


def test_no_index_on_file_systems_of_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "nfs")
    with pytest.raises(errors.StoreError) as caught, Filling(os.fsencode(tmp_path)):
        pass
    assert "nfs" in str(caught.value.detail)
    monkeypatch.setattr(filesystems, "deaf_at", lambda directory: "overlayfs")
    with Filling(os.fsencode(tmp_path)):
        pass


def test_a_file_that_was_taken_away_ends_the_filling(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        (tmp_path / os.fsdecode(FILE)).unlink()
        with pytest.raises(errors.StoreError):
            filling.commit()
    assert asked(tmp_path, "TEXT", rows(1)) is None


def test_a_file_that_another_has_written_to_ends_the_filling(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
        with open(tmp_path / os.fsdecode(FILE), "ab") as file:
            file.write(b"more")
        with pytest.raises(errors.StoreError):
            put(filling, 2, "TEXT")
    assert asked(tmp_path, "TEXT", rows(1)) is None


def test_it_is_taken_away_whole(tmp_path: Path) -> None:
    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        filling.commit()
    texts_filling.remove(os.fsencode(tmp_path))
    assert list(tmp_path.iterdir()) == []
    texts_filling.remove(os.fsencode(tmp_path))
    texts_filling.remove(os.fsencode(tmp_path / "nowhere"))


def test_errors_of_the_disk_are_said_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(action: str, what: object) -> None:
        if action == "commit":
            raise OSError(errno.EIO, "injected")

    with Filling(os.fsencode(tmp_path)) as filling:
        put(filling, 1, "TEXT")
        monkeypatch.setattr(durable, "step", step)
        with pytest.raises(errors.StoreError):
            filling.commit()
    assert asked(tmp_path, "TEXT", rows(1)) == [1]


def test_this_python_can_have_one() -> None:
    assert texts.available()


def test_a_python_that_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*args: object, **options: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("no such module: fts5")

    monkeypatch.setattr(sqlite3, "connect", connect)
    assert not texts.available()


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b", "\0", "plain", "\ufffe"])
def test_what_sqlite_does_not_take_is_made_what_it_takes(text: str) -> None:
    """One character for one, on both sides."""
    fit = texts.fit(text)
    assert len(fit) == len(text)
    assert "\0" not in fit
    fit.encode()


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"maildir-imapd texts 1",
        b"maildir-imapd texts 1 v 1 2 3 4",
        b"maildir-imapd texts 2 v 1 2 3 4\n",
        b"\0" * 99,
    ],
)
def test_a_line_that_nobody_has_written_whole(line: bytes) -> None:
    assert texts.parse_line(line) is None


def test_a_line_is_read_as_it_was_written() -> None:
    left = texts.LeftAs(1, 2, 3, 2**63)
    line = texts.render_line(b"v-1", left)
    assert texts.parse_line(line) == (b"v-1", left)
    assert len(line) == texts.LINE_OCTETS
