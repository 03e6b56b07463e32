"""Die everywhere while an index of texts is filled: searches go on with the right answers, and the next fills it.

The child dies before every step of ours, before every statement of SQLite's, and in the middle of what SQLite writes
(by the limit for a file's size: the write that would pass it ends the process).
"""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from pathlib import Path

import pytest
from crash import DEAD, die_at
from spool import Spool
from texts_index import Indexed, search

from maildir_imapd.imap.search import filling
from maildir_imapd.store.records import texts, texts_filling

pytestmark = pytest.mark.slow  # a process for every step

NEEDLES = ("needle 1", "needle 4", "absent", "filling")


def spool_of(root: Path) -> Spool:
    spool = Spool(root)
    for number in range(6):
        # Letters enough for some pages.
        body = b"needle %d %b\n" % (number, b" ".join(b"filling%d" % (at * at * (number + 7)) for at in range(400)))
        spool.put("INBOX", b"Subject: %d\n\n%b" % (number, body), "")
    return spool


def check(indexed: Indexed) -> None:
    """The same answers with and without, now and when it has been filled again."""
    expected = {needle: search(indexed.client(indexed=False), b"BODY", needle) for needle in NEEDLES}
    assert expected["needle 4"] == [5]
    assert expected["filling"] == [1, 2, 3, 4, 5, 6]
    for _ in range(2):
        client = indexed.client()
        assert {needle: search(client, b"BODY", needle) for needle in NEEDLES} == expected
        indexed.fill()
    indexed.wanted.clear()
    assert search(indexed.client(), b"BODY", "absent") == []
    assert indexed.wanted == [], "all of it is there again"


def dies(indexed: Indexed) -> int:
    """Fill in a child that may die; returns how it ended."""
    child = os.fork()
    if child == 0:
        try:
            filling.BATCH_MESSAGES = 2  # type: ignore[misc]
            indexed.fill()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("torn", [False, True])
def test_before_every_step(tmp_path: Path, before: int, torn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """*before*: messages that were in it already."""
    number, status = 0, DEAD
    while status == DEAD:
        number += 1
        spool = spool_of(tmp_path / f"{number}")
        indexed = _begun(spool, before)
        with monkeypatch.context() as patch:
            patch.setattr(filling, "key_of", _dying(filling.key_of, number, torn))
            status = dies(indexed)
        check(indexed)
    assert status == 0
    assert number > (1 if torn else 8)


def _dying(key_of: object, number: int, torn: bool) -> object:
    """From the first look at a folder on, so that its own steps are not counted."""

    def dying(*args: object) -> object:
        found = key_of(*args)  # type: ignore[operator]
        die_at(number, torn)
        return found

    return dying


def _begun(spool: Spool, before: int) -> Indexed:
    indexed = Indexed(spool.root)
    if before:
        box = indexed.account.mailbox("INBOX")
        rows = box.sync()
        with texts_filling.Filling(indexed.texts.directory) as some:
            folder = some.folder(filling.key_of(box, rows))
            for uid, fingerprint in list(zip(rows.uids, rows.fingerprints, strict=True))[:before]:
                filling._put(box, rows, uid, fingerprint, folder, some, filling._Alone())
            some.commit()
    return indexed


def test_before_every_statement_of_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect, number, status = texts.connect, 0, DEAD
    while status == DEAD:
        number += 1
        indexed = _begun(spool_of(tmp_path / f"{number}"), 3)
        left = [number]

        def traced(statement: str, left: list[int] = left) -> None:
            left[0] -= 1
            if not left[0]:
                os._exit(DEAD)

        def dying(*args: object, traced: object = traced) -> sqlite3.Connection:
            connection = connect(*args)  # type: ignore[arg-type]
            connection.set_trace_callback(traced)  # type: ignore[arg-type]
            return connection

        with monkeypatch.context() as patch:
            patch.setattr(texts, "connect", dying)
            status = dies(indexed)
        check(indexed)
    assert status == 0
    assert number > 40


def test_in_the_middle_of_what_sqlite_writes(tmp_path: Path) -> None:
    ends = set()
    for number, limit in enumerate(range(4096, 400_000, 8192 + 512)):
        indexed = _begun(spool_of(tmp_path / f"{number}"), 3)
        child = os.fork()
        if child == 0:
            try:
                filling.BATCH_MESSAGES = 2  # type: ignore[misc]
                indexed.account.mailbox("INBOX")
                signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
                indexed.fill()
                os._exit(0)
            except BaseException:
                os._exit(1)
        ends.add(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        check(indexed)
    assert ends == {0, -signal.SIGXFSZ}


def test_what_was_committed_outlives_a_death(tmp_path: Path) -> None:
    """A process that is killed within a batch costs that batch alone."""
    indexed = _begun(spool_of(tmp_path), 3)
    child = os.fork()
    if child == 0:
        try:
            box = indexed.account.mailbox("INBOX")
            rows = box.sync()
            with texts_filling.Filling(indexed.texts.directory) as some:
                folder = some.folder(filling.key_of(box, rows))
                filling._put(box, rows, rows.uids[3], rows.fingerprints[3], folder, some, filling._Alone())
                assert (tmp_path / os.fsdecode(texts.ROLLBACK)).stat().st_size >= 0
                os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert indexed.fill() == 3
    check(indexed)
