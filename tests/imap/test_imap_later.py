"""News that cannot be had now: no command that is done is NO for it, and nothing of them is lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from faults import STEP, SYSTEM, Faults, broken_disk, no_descriptor
from memory import MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.errors import Goodbye, Refused, StoreError
from maildir_imapd.imap.later import later
from maildir_imapd.imap.news import contexts, updates

WRONGS = [(STEP, broken_disk), (SYSTEM, no_descriptor), (SYSTEM, broken_disk)]
Wrong = tuple[str, Callable[[], Exception]]
MOST_POINTS = 40  # the points grow with the messages


@pytest.fixture
def wires(spool: Spool) -> MemoryWires:
    spool.simple("INBOX", 3)
    spool.folder("Work")
    return MemoryWires(spool.root)


def selected(wires: MemoryWires) -> MemoryClient:
    client = wires.connect(login=True)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    return client


def exists(lines: list[bytes]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.match(rb"\* (\d+) EXISTS", line))]


@pytest.mark.parametrize("wrong", WRONGS, ids=["step EIO", "EMFILE", "EIO"])
def test_noop_is_never_no(wires: MemoryWires, spool: Spool, wrong: Wrong) -> None:
    client = selected(wires)
    there = 3
    for point in range(1, MOST_POINTS):
        spool.put("INBOX", b"Subject: new\n\nnews\n", None)
        there += 1
        wires.changed()
        client.unread()
        with Faults(wrong[0], point, wrong[1]) as faults:
            lines = client.command(b"a NOOP")
        assert lines[-1].startswith(b"a OK"), (faults.where, lines)
        again = client.command(b"b NOOP")
        assert again[-1].startswith(b"b OK"), (faults.where, again)
        assert exists(lines + again)[-1:] == [there], (faults.where, lines, again)
        if not faults.hit:
            break
    assert point > 2


@contextmanager
def trouble_at_the_end(monkeypatch: pytest.MonkeyPatch, wrong: Wrong, point: int) -> Iterator[list[Faults]]:
    """Faults begin where a command is done and the news are told."""
    begun: list[Faults] = []
    tell = updates.tell

    def told(*args: object, **options: object) -> None:
        with Faults(wrong[0], point, wrong[1]) as faults:
            begun.append(faults)
            tell(*args, **options)  # type: ignore[arg-type]  # passed on as they came

    with monkeypatch.context() as patch:
        patch.setattr(updates, "tell", told)
        yield begun


@pytest.mark.long
@pytest.mark.parametrize("wrong", WRONGS, ids=["step EIO", "EMFILE", "EIO"])
@pytest.mark.parametrize(
    "line",
    [
        b"FETCH 1 FLAGS",
        b"STORE 1 +FLAGS (\\Flagged)",
        b"UID STORE 1 -FLAGS.SILENT (\\Flagged)",
        b"COPY 1 Work",
        b"STATUS Work (MESSAGES)",
        b"APPEND Work {6+}\r\nA: b\r\n",
        b"SEARCH ALL",
        b'LIST "" *',
    ],
)
def test_what_is_done_is_done(
    wires: MemoryWires, spool: Spool, monkeypatch: pytest.MonkeyPatch, line: bytes, wrong: Wrong
) -> None:
    client = selected(wires)
    for point in range(1, MOST_POINTS):
        with trouble_at_the_end(monkeypatch, wrong, point) as begun:
            client.session.selected.look_again()
            spool.put("INBOX", b"Subject: new\n\nnews\n", None)
            lines = client.command(b"a " + line)
        assert lines[-1].startswith(b"a OK"), (begun[0].where, lines)
        assert begun
        if not begun[0].hit:
            break
    assert point > 1
    assert client.command(b"b NOOP")[-1].startswith(b"b OK")
    assert len(client.session.selected.snapshot) == 3 + point


@pytest.mark.parametrize("wrong", WRONGS, ids=["step EIO", "EMFILE", "EIO"])
def test_a_refusal_stays_the_one_that_it_is(wires: MemoryWires, monkeypatch: pytest.MonkeyPatch, wrong: Wrong) -> None:
    client = selected(wires)
    with trouble_at_the_end(monkeypatch, wrong, 1):
        assert client.command(b"a COPY 1 Nowhere")[-1].startswith(b"a NO [TRYCREATE]")


@pytest.mark.parametrize("count", [1, contexts.FEW + 1])
@pytest.mark.parametrize("part", ["find", "rank"])
@pytest.mark.parametrize("error", [StoreError("no descriptor"), broken_disk()], ids=["StoreError", "OSError"])
def test_a_result_that_goes_on_misses_nothing(
    wires: MemoryWires, spool: Spool, part: str, count: int, error: Exception
) -> None:
    """Who cannot be asked now is asked with the next command, although nothing has happened since."""
    client = selected(wires)
    assert client.command(b"w UID SORT RETURN (UPDATE) (ARRIVAL) UTF-8 UNSEEN")[-1].startswith(b"w OK")
    (context,) = client.session.selected.contexts.values()
    before, order = set(context.known), list(context.order)
    real = getattr(context, part)

    def fail(_positions: object) -> list[int]:
        setattr(context, part, real)
        raise error

    setattr(context, part, fail)
    for _ in range(count):
        spool.put("INBOX", b"Subject: new\n\nnews\n", None)
    lines = client.command(b"a NOOP")
    assert lines[-1].startswith(b"a OK")
    assert exists(lines) == [3 + count]
    assert not [line for line in lines if b"ADDTO" in line]
    assert (context.known, context.order) == (before, order)
    lines = client.command(b"b NOOP")
    assert [line for line in lines if b"ADDTO" in line]
    assert context.known - before == set(range(4, 4 + count))
    assert sorted(context.order) == sorted(context.known)
    assert len(client.command(b"c NOOP")) == 1


def test_idle_goes_on(wires: MemoryWires, spool: Spool) -> None:
    client = selected(wires)
    client.send(b"i IDLE\r\n")
    assert client.read_line() == b"+ idling"
    for point in range(1, 40):
        spool.put("INBOX", b"Subject: new\n\nnews\n", None)
        with Faults(SYSTEM, point, no_descriptor):
            client.session.selected.look_again()
            client.engine.announce(client.reply)
    client.send(b"DONE\r\nn NOOP\r\n")
    lines = client.unread().split(b"\r\n")
    assert [line for line in lines if line[:2] in (b"i ", b"n ")] == [b"i OK IDLE completed", b"n OK NOOP completed"]
    assert exists(lines)[-1] == 42


def test_only_trouble_of_the_store_is_put_off() -> None:
    for error in (StoreError("x"), OSError(5, "x")):
        with later("x"):
            raise error
    for other in (Refused("x"), Goodbye("x"), ConnectionResetError(), TimeoutError(), ValueError()):
        with pytest.raises(type(other)), later("x"):
            raise other
