"""What one client's large message costs a worker: counted in its own process, as the kernel counts it."""

from __future__ import annotations

import base64
import os
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from memory import POLICY

from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.reply import Reply
from maildir_imapd.message import blocks
from maildir_imapd.server import memory
from maildir_imapd.store.account import Account

MIB = 1024 * 1024
MESSAGE_MIB = 64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Maildir with one large message."""
    path = tmp_path_factory.mktemp("large") / "Maildir"
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True)
    line = base64.b64encode(b"q" * 57) + b"\n"
    with open(path / "cur" / "1700000000.M1P1.host:2,S", "wb") as file:
        file.write(
            b"From: a@example.org\nSubject: large\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b\n"
        )
        file.write(b"Content-Type: application/octet-stream\nContent-Transfer-Encoding: base64\n\n")
        file.write(line * (MESSAGE_MIB * MIB // len(line)))
        file.write(b"--b--\n")
    yield path
    (path / "cur" / "1700000000.M1P1.host:2,S").unlink()


class Clients:
    """Sessions of one process, whose answers nobody keeps."""

    def __init__(self, root: Path) -> None:
        self._account = Account(os.fsencode(root), fsync="never")
        self._all: list[tuple[Engine, Reply, list[int]]] = []

    def command(self, number: int, line: bytes) -> int:
        """Have client *number* send a line, and return how many octets it got for it."""
        while len(self._all) <= number:
            engine = Engine(POLICY, preauth=Access("ann", self._account))
            octets: list[int] = []
            reply = Reply(lambda data, octets=octets: octets.append(len(data)))  # type: ignore[misc]  # its own list
            engine.greet(reply)
            engine.feed(b"s SELECT INBOX\r\n", reply)
            self._all.append((engine, reply, octets))
        engine, reply, octets = self._all[number]
        octets.clear()
        engine.feed(line + b"\r\n", reply)
        return sum(octets)


def grown(root: Path, work: Callable[[Clients], None]) -> tuple[float, float]:
    """In a process of its own: how many MiB *work* leaves behind, and how many it took at its highest."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            memory.give_back()
            clients = Clients(root)
            clients.command(0, b"a FETCH 1 (FLAGS RFC822.SIZE ENVELOPE)")
            before = _kib(b"VmRSS:")
            Path("/proc/self/clear_refs").write_text("5")  # the highest is counted anew
            work(clients)
            os.write(writing, b"%d %d" % (_kib(b"VmRSS:") - before, _kib(b"VmHWM:") - before))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        left, highest = said.read().split() or (b"0", b"0")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return int(left) / 1024, int(highest) / 1024


def _kib(name: bytes) -> int:
    return int(Path("/proc/self/status").read_bytes().split(name)[1].split()[0])


COMMANDS = [
    b"FETCH 1 (BODY.PEEK[])",
    b"FETCH 1 (BODY.PEEK[TEXT])",
    b"FETCH 1 (BODY.PEEK[]<1000000.30000000>)",
    b"FETCH 1 (BODY.PEEK[HEADER] RFC822.SIZE)",
    b"FETCH 1 (EMAILID)",
    b"FETCH 1 (BODYSTRUCTURE PREVIEW)",
    b"FETCH 1 (BINARY.PEEK[2] BINARY.SIZE[2])",
    b"SEARCH TEXT nothing",
    b"SEARCH BODY text",
    b"SORT (SUBJECT) UTF-8 ALL",
]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_large_message_is_not_held(root: Path, command: bytes) -> None:
    def work(clients: Clients) -> None:
        clients.command(0, b"a " + command)

    left, highest = grown(root, work)
    assert highest < 16
    assert left < 8


@pytest.mark.slow
@pytest.mark.parametrize("section", [b"", b"2", b"TEXT"])
def test_nobody_holds_a_message_while_he_waits(root: Path, section: bytes) -> None:
    """Eight clients that have fetched a thousand octets, and idle."""

    def work(clients: Clients) -> None:
        for number in range(8):
            assert 1000 < clients.command(number, b"a FETCH 1 (BODY.PEEK[%b]<5.1000>)" % section) < 1200

    left, highest = grown(root, work)
    assert left < 16
    assert highest < 16


def test_the_memory_of_the_machine_or_of_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_GROUP_LIMIT", str(tmp_path / "limit"))
    whole = memory.machine_octets()
    assert whole == int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    for said, octets in (("max\n", whole), ("67108864\n", 64 * MIB), (f"{whole * 2}\n", whole)):
        (tmp_path / "limit").write_text(said)
        assert memory.machine_octets() == octets


def test_the_bounds_are_taken() -> None:
    assert memory.give_back()


def test_what_lies_in_holes_is_given_back() -> None:
    """Pieces of which every other is let go of, and the last not: nothing at the end is free."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            memory.give_back()
            pieces = [bytes(40_000) for _ in range(1000)]
            del pieces[:-1]
            before = _kib(b"VmRSS:")
            memory.trim()
            os.write(writing, b"%d" % (before - _kib(b"VmRSS:")))
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        given = int(said.read() or b"0")
    os.waitpid(child, 0)
    assert given > 30_000


def test_a_file_that_shrinks_while_it_is_sent(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The announced octets are sent, padded, and the log says so."""
    path = tmp_path / "Maildir"
    for sub in ("cur", "new", "tmp"):
        (path / sub).mkdir(parents=True)
    file = path / "cur" / "1700000000.M1P1.host:2,S"
    file.write_bytes(b"Subject: x\r\n\r\n" + b"y" * 3 * MIB)
    octets = file.stat().st_size
    got = bytearray()

    def send(data: bytes) -> None:
        if len(got) < octets // 2 <= len(got) + len(data):
            os.truncate(file, octets // 2)
        got.extend(data)

    engine = Engine(POLICY, preauth=Access("ann", Account(os.fsencode(path), fsync="never")))
    reply = Reply(send)
    engine.greet(reply)
    engine.feed(b"s SELECT INBOX\r\n", reply)
    got.clear()
    engine.feed(b"a FETCH 1 BODY.PEEK[]\r\nb NOOP\r\n", reply)
    begin = b"* 1 FETCH (BODY[] {%d}\r\n" % octets
    assert got.startswith(begin)
    assert got[len(begin) + octets :].startswith(b")\r\na OK")
    assert got[len(begin) : len(begin) + octets].endswith(b"  ")
    assert "its file has shrunk" in caplog.text


def test_a_block_comes_from_memory_that_the_process_has() -> None:
    """Even one of nothing but line ends: what comes from the system and goes back costs more than its octets."""
    assert 2 * blocks.BLOCK_OCTETS < memory.MMAP_OCTETS
    assert blocks.KEPT_OCTETS + blocks.BLOCK_OCTETS < memory.TRIM_OCTETS
