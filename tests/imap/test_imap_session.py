"""The session at its edges: limits, errors, trouble below, and input in pieces of any size."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from memory import POLICY, MemoryClient, MemoryWires
from spool import Spool

from maildir_imapd.imap.registry import TABLE
from maildir_imapd.imap.reply import Done
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable
from maildir_imapd.store.folder import directories
from maildir_imapd.store.maildir.delivery import Delivery
from maildir_imapd.wire.buffer import Limits


@pytest.fixture
def wires(spool: Spool) -> MemoryWires:
    return MemoryWires(spool.root)


def selected(wires: MemoryWires) -> MemoryClient:
    client = wires.connect(login=True)
    assert client.command(b"s SELECT INBOX")[-1].startswith(b"s OK")
    return client


def test_octet_by_octet_is_the_same_as_at_once(wires: MemoryWires, spool: Spool) -> None:
    spool.simple("INBOX", 3)
    text = (
        b"a SELECT INBOX\r\nb FETCH 1:* (FLAGS BODY.PEEK[TEXT])\r\nc APPEND INBOX () {9+}\r\nA: b\r\n\r\nc\r\n"
        b"d SEARCH SUBJECT {7+}\r\nmessage\r\ne IDLE\r\nDONE\r\nf NOOP\r\ng LOGOUT\r\n"
    )

    def play(pieces: list[bytes]) -> list[bytes]:
        client = wires.connect(login=True)
        for piece in pieces:
            client.send(piece)
        lines = client.unread().split(b"\r\n")
        # What the second run finds is what the first left: one message more, none recent.
        return [line for line in lines if line.startswith((b"a ", b"b ", b"d ", b"e ", b"f ", b"g ", b"+", b"* BYE"))]

    assert play([text]) == play([text[i : i + 1] for i in range(len(text))])


def test_pipelined_commands_are_answered_in_order(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    client.send(b"".join(b"t%d NOOP\r\n" % n for n in range(200)))
    assert client.unread() == b"".join(b"t%d OK NOOP completed\r\n" % n for n in range(200))


def test_too_many_errors_before_login(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=False)
    client.send(b"a FOO\r\nb BAR\r\nc BAZ\r\nd NOOP\r\n")
    lines = client.unread().split(b"\r\n")
    assert [line[:5] for line in lines] == [b"a BAD", b"b BAD", b"c BAD", b"* BYE", b""]
    assert client.engine.over


def test_errors_in_a_row_only(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    for _ in range(15):
        client.command(b"x FOO")
        client.command(b"x FOO")
        assert client.command(b"y NOOP")[-1].startswith(b"y OK")
    for _ in range(20):
        client.command(b"x FOO")
    assert client.engine.over


def test_an_http_client_is_sent_away(spool: Spool) -> None:
    client = MemoryWires(spool.root).connect(login=False)
    client.send(b"GET / HTTP/1.1\r\nHost: mail\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n")
    assert client.engine.over


def test_long_line(spool: Spool) -> None:
    policy = dataclasses.replace(POLICY, after_login=Limits(line=2000, literal=1000, command=4000))
    client = MemoryWires(spool.root, policy).connect(login=True)
    lines = client.command(b"a SEARCH SUBJECT " + b"x" * 5000)
    assert lines[-1].startswith(b"a BAD [TOOBIG]")
    assert client.command(b"b NOOP")[-1].startswith(b"b OK")


def test_large_literal_is_refused_before_it_is_sent(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    assert client.command(b"a SEARCH SUBJECT {70000}")[-1][:2] == b"a "
    assert client.command(b"b LIST {99999999999} x")[-1][:5] == b"b BAD"
    assert client.command(b"c APPEND INBOX {999999999}")[-1].startswith(b"c NO [TOOBIG]")
    # A literal that does not wait is read and thrown away; what is in it is no command.
    client.send(b"d SELECT {70000+}\r\n" + b"e LOGOUT\r\n" * 7000 + b"\r\nf NOOP\r\n")
    lines = client.unread().split(b"\r\n")
    assert lines[0].startswith(b"d BAD [TOOBIG]")
    assert lines[1].startswith(b"f OK")
    assert not client.engine.over


def test_no_password_without_tls(spool: Spool) -> None:
    policy = dataclasses.replace(POLICY, plaintext_login=False, tls_available=True)
    client = MemoryWires(spool.root, policy).connect(login=False)
    lines = client.command(b"a CAPABILITY")
    assert b"LOGINDISABLED" in lines[0]
    assert b"STARTTLS" in lines[0]
    assert b"AUTH=" not in lines[0]
    assert client.command(b"b LOGIN ann secret")[-1].startswith(b"b NO [PRIVACYREQUIRED]")
    assert client.command(b"c AUTHENTICATE PLAIN")[-1].startswith(b"c NO [PRIVACYREQUIRED]")


def test_what_follows_starttls_in_the_clear_is_never_run(spool: Spool) -> None:
    policy = dataclasses.replace(POLICY, tls_available=True)
    client = MemoryWires(spool.root, policy).connect(login=False)
    client.send(b"a STARTTLS\r\nb LOGIN ann secret\r\n")
    assert client.engine.over
    assert client.session.user is None
    assert b"b OK" not in client.unread()


def test_tls_forgets_what_was_said_before(spool: Spool) -> None:
    policy = dataclasses.replace(POLICY, tls_available=True)
    client = MemoryWires(spool.root, policy).connect(login=False)
    client.command(b"a LANGUAGE de")
    client.command(b"b STARTTLS")
    assert client.session.upgrade == b"TLS"
    client.engine.upgraded(b"TLS")
    capabilities, end = client.command(b"c CAPABILITY")
    assert end == b"c OK Capability completed"
    assert b"STARTTLS" not in capabilities
    assert client.command(b"d STARTTLS")[-1].startswith(b"d BAD")


def test_passwords_that_nobody_has(wires: MemoryWires) -> None:
    for line in (b'a LOGIN ann ""', b"a LOGIN ann {2000+}\r\n" + b"x" * 2000, b'a LOGIN "" secret'):
        client = wires.connect(login=False)
        assert client.command(line)[-1].startswith(b"a NO [AUTHENTICATIONFAILED]")


def test_a_bug_costs_one_command(wires: MemoryWires, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Done:
        raise ZeroDivisionError

    old = TABLE[b"NAMESPACE"]
    TABLE[b"NAMESPACE"] = dataclasses.replace(old, handler=broken)
    try:
        client = wires.connect(login=True)
        line = client.command(b"a NAMESPACE")[-1]
        assert re.fullmatch(rb"a NO \[SERVERBUG\] Internal error \(reference [0-9a-f]{8}\)", line)
        assert client.command(b"b NOOP")[-1].startswith(b"b OK")
    finally:
        TABLE[b"NAMESPACE"] = old
    assert "ZeroDivisionError" in caplog.text


def test_a_message_that_is_no_file_is_left_out(wires: MemoryWires, spool: Spool) -> None:
    bases = spool.simple("INBOX", 3)
    client = selected(wires)
    path = spool.find("INBOX", bases[1])
    path.unlink()
    os.mkfifo(path)
    lines = client.command(b"a FETCH 1:3 (UID BODY.PEEK[])")
    assert [line for line in lines if b"FETCH (UID" in line] == [
        b"* 1 FETCH (UID 1 BODY[] {151}",
        b"* 3 FETCH (UID 3 BODY[] {151}",
    ]
    assert lines[-1].startswith(b"a NO [SERVERBUG]")
    assert client.command(b"b FETCH 1:3 FLAGS")[-1].startswith(b"b OK")


def test_a_message_renamed_behind_our_back_is_found(wires: MemoryWires, spool: Spool) -> None:
    bases = spool.simple("INBOX", 2)
    client = selected(wires)
    spool.reflag("INBOX", bases[0], "FS")
    lines = client.command(b"a FETCH 1 BODY.PEEK[TEXT]")
    assert b"body of 1" in lines
    assert lines[-1].startswith(b"a OK")


def test_a_message_that_comes_back_does_not_shift_the_numbers(wires: MemoryWires, spool: Spool) -> None:
    bases = spool.simple("INBOX", 3)
    client = selected(wires)
    path = spool.find("INBOX", bases[1])
    away = spool.root / "tmp" / "away"
    os.rename(path, away)
    assert b"* 2 EXPUNGE" in client.command(b"a NOOP")
    os.rename(away, path)
    assert client.command(b"b CHECK") == [b"b OK CHECK completed"]
    assert client.command(b"c FETCH 1:* UID")[:-1] == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 3)"]
    # It has its old UID for whoever looks anew.
    again = selected(wires)
    assert again.command(b"d FETCH 1:* UID")[:-1] == [b"* %d FETCH (UID %d)" % (n, n) for n in (1, 2, 3)]
    # And news still reach the first client under its own numbers.
    again.command(b"e STORE 2:3 +FLAGS.SILENT (\\Seen)")
    assert client.command(b"f NOOP")[:-1] == [b"* 2 FETCH (FLAGS (\\Seen))"]


def test_the_last_message_comes_back(wires: MemoryWires, spool: Spool) -> None:
    """At the end it would shift nobody, but the client has been told that this UID is gone."""
    bases = spool.simple("INBOX", 2)
    client = selected(wires)
    path = spool.find("INBOX", bases[1])
    away = spool.root / "tmp" / "away"
    os.rename(path, away)
    assert b"* 2 EXPUNGE" in client.command(b"a NOOP")
    os.rename(away, path)
    assert client.command(b"b CHECK") == [b"b OK CHECK completed"]
    assert client.command(b"c FETCH 1:* UID")[:-1] == [b"* 1 FETCH (UID 1)"]
    spool.simple("INBOX", 1)
    assert client.command(b"d NOOP")[:-1] == [b"* 2 EXISTS", b"* 0 RECENT"]
    assert client.command(b"e FETCH 2 UID")[:-1] == [b"* 2 FETCH (UID 3)"]


def test_the_open_mailbox_is_deleted_by_another(wires: MemoryWires, spool: Spool) -> None:
    spool.simple("box", 1)
    one, two = wires.connect(login=True), wires.connect(login=True)
    one.command(b"a SELECT box")
    assert two.command(b"a DELETE box")[-1].startswith(b"a OK")
    assert any(line.startswith(b"* BYE") for line in one.command(b"b NOOP"))
    assert one.engine.over
    two.command(b"b CREATE mine")
    two.command(b"c SELECT mine")
    assert two.command(b"d DELETE mine")[-1].startswith(b"d OK")
    assert two.command(b"e NOOP")[-1].startswith(b"e OK")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """From now on every write fails for want of room."""

    def step(action: str, what: object) -> None:
        if action in ("write", "create"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    durable.step = step
    yield
    durable.step = None


def test_disk_full(wires: MemoryWires, spool: Spool, request: pytest.FixtureRequest) -> None:
    spool.simple("INBOX", 3)
    client = selected(wires)
    request.getfixturevalue("full_disk")
    lines = client.command(b"a APPEND INBOX {8+}\r\nA: b\r\n\r\n")
    assert lines[-1].startswith(b"a NO [OVERQUOTA]")
    assert client.command(b"b FETCH 1:3 (FLAGS ENVELOPE)")[-1].startswith(b"b OK")
    assert client.command(b"c SEARCH SUBJECT message")[0] == b"* SEARCH 1 2 3"
    assert client.command(b"d STORE 1 +FLAGS.SILENT (\\Deleted)")[-1].startswith(b"d OK")
    assert b"* 1 EXPUNGE" in client.command(b"e EXPUNGE")
    assert not list((spool.root / "tmp").iterdir())
    other = selected(MemoryWires(spool.root))
    assert other.command(b"f FETCH 1:* UID")[-1].startswith(b"f OK")


def test_unreadable_folder(wires: MemoryWires, spool: Spool, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    spool.simple("box", 1)
    os.chmod(spool.root / ".box", 0)
    client = wires.connect(login=True)
    line = client.command(b"a SELECT box")[-1]
    os.chmod(spool.root / ".box", 0o700)
    assert line.startswith(b"a NO [")
    assert client.command(b"b SELECT INBOX")[-1].startswith(b"b OK")


def test_append_that_breaks_off_leaves_nothing(wires: MemoryWires, spool: Spool) -> None:
    client = wires.connect(login=True)
    client.send(b"a APPEND INBOX {100}\r\nSubject: half")
    assert list((spool.root / "tmp").iterdir())
    client.session.close()
    assert not list((spool.root / "tmp").iterdir())


def test_idle_in_the_authenticated_state(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    client.send(b"a IDLE\r\n")
    assert client.read_line() == b"+ idling"
    client.send(b"done\r\n")
    line = client.read_line()
    assert line is not None
    assert line.startswith(b"a OK")


def test_a_bell_while_idling_without_a_mailbox(wires: MemoryWires) -> None:
    """The process rings it to say goodbye; there is nothing to tell, and IDLE goes on."""
    client = wires.connect(login=True)
    client.send(b"a IDLE\r\n")
    assert client.read_line() == b"+ idling"
    client.engine.announce(client.reply)
    assert client.unread() == b""
    client.send(b"DONE\r\n")
    assert client.unread().startswith(b"a OK")


def test_the_folder_goes_while_its_recent_mail_is_claimed(wires: MemoryWires, spool: Spool) -> None:
    spool.simple("box", 1)
    client = wires.connect(login=True)
    client.command(b"a SELECT box")
    spool.simple("box", 1, None)
    view = client.session.selected
    view.mailbox.sync()
    os.rename(spool.root / ".box", spool.root / ".elsewhere")
    view.fresh = True
    client.send(b"b NOOP\r\n")
    assert client.unread().startswith(b"* BYE")


EIGHT_BIT = "Subject: ü\r\n\r\n".encode()


def test_utf8_headers_where_they_must_be_announced(spool: Spool) -> None:
    """RFC 6855 section 4: only from a client that has enabled it, in whatever form they come."""
    client = MemoryWires(spool.root, dataclasses.replace(POLICY, utf8="strict")).connect(login=True)
    append = b"APPEND INBOX {%d+}\r\n%b" % (len(EIGHT_BIT), EIGHT_BIT)
    assert client.command(b"a " + append)[-1].startswith(b"a NO ")
    assert client.command(b"b APPEND INBOX UTF8 (~{%d+}\r\n%b)" % (len(EIGHT_BIT), EIGHT_BIT))[-1].startswith(b"b NO ")
    body = EIGHT_BIT.replace("ü".encode(), b"u") + EIGHT_BIT
    assert client.command(b"c APPEND INBOX {%d+}\r\n%b" % (len(body), body))[-1].startswith(b"c OK ")
    client.command(b"d ENABLE UTF8=ACCEPT")
    assert client.command(b"e " + append)[-1].startswith(b"e OK ")
    assert len(spool.files("INBOX")) == 2


def test_utf8_as_it_is_set(spool: Spool) -> None:
    append = b"a APPEND INBOX {%d+}\r\n%b" % (len(EIGHT_BIT), EIGHT_BIT)
    assert MemoryWires(spool.root).connect(login=True).command(append)[-1].startswith(b"a OK ")
    client = MemoryWires(spool.root, dataclasses.replace(POLICY, utf8="no")).connect(login=True)
    assert b"UTF8" not in client.command(b"b CAPABILITY")[0]
    assert client.command(b"c ENABLE UTF8=ACCEPT")[0] == b"* ENABLED"
    assert client.command(append)[-1].startswith(b"a OK ")


@pytest.mark.parametrize(
    "command",
    [b"STATUS a (MESSAGES)", b"SELECT a", b'LIST "" a RETURN (STATUS (MESSAGES))', b"ESEARCH IN (mailboxes a) ALL"],
)
def test_a_folder_in_the_place_of_one_that_was_open(spool: Spool, tmp_path: Path, command: bytes) -> None:
    """Another program has put it there; whoever asks next is told about that one."""
    spool.simple("a", 3)
    client = MemoryWires(spool.root).connect(login=True)
    assert b"MESSAGES 3" in b"".join(client.command(b"a STATUS a (MESSAGES)"))
    spool.path("a").rename(tmp_path / "away")
    spool.simple("a", 1)
    found = client.command(b"b " + command)
    assert found[-1].startswith(b"b OK"), found
    assert any(word in b" ".join(found) for word in (b"MESSAGES 1", b"* 1 EXISTS", b"ALL 1")), found


@pytest.mark.parametrize(
    "text", [b" {1+}\r\nx", b" CATENATE (TEXT {1+}\r\nx)", b" CATENATE (TEXT {1+}\r\nx TEXT {1+}\r\ny)"]
)
def test_a_command_of_many_messages_holds_few_descriptors(wires: MemoryWires, text: bytes) -> None:
    """A line of a megabyte has room for more messages than a process may have descriptors."""
    client = wires.connect(login=True)
    before = len(os.listdir("/proc/self/fd"))
    client.send(b"a APPEND INBOX" + text * 200)
    assert len(client.session.deliveries) >= 200
    assert len(os.listdir("/proc/self/fd")) < before + 20
    client.send(b"\r\n")
    answer = client.read_line()
    assert answer is not None
    assert re.match(rb"a OK \[APPENDUID \d+ 1:200\]", answer), answer
    assert len(os.listdir("/proc/self/fd")) < before + 20


def test_many_messages_are_added_up_once(wires: MemoryWires, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def look(self: Delivery) -> int:
        nonlocal looks
        looks += 1
        return int(self.__dict__["size"])

    def note(self: Delivery, size: int) -> None:
        self.__dict__["size"] = size

    monkeypatch.setattr(Delivery, "size_disk", property(look, note), raising=False)
    client = wires.connect(login=True)
    counts = []
    for number in (100, 200):
        looks = 0
        client.send(b"a APPEND INBOX" + b" {1+}\r\nx" * number + b"\r\n")
        assert client.read_line() is not None
        counts.append(looks)
    assert counts[1] <= 2 * counts[0] + 10


@pytest.mark.parametrize("away", [b"DELETE Box", b"RENAME Box Other"])
def test_append_to_a_mailbox_that_is_made_anew_meanwhile(wires: MemoryWires, away: bytes) -> None:
    """What has streamed in lies in a folder that is gone, and goes into the one that has its name."""
    other = wires.connect(login=True)
    client = wires.connect(login=True)
    other.command(b"a CREATE Box")
    client.send(b"a APPEND Box {9}\r\n")
    assert client.read_line() == b"+ OK"
    assert other.command(b"b " + away)[-1].startswith(b"b OK")
    assert other.command(b"c CREATE Box")[-1].startswith(b"c OK")
    client.send(b"A: b\r\n\r\nc\r\n")
    assert (client.read_line() or b"").startswith(b"a OK [APPENDUID ")
    assert other.command(b"d STATUS Box (MESSAGES)")[0] == b"* STATUS Box (MESSAGES 1)"
    assert client.command(b"h SELECT Box")[-1].startswith(b"h OK")
    assert b"A: b\r\n\r\nc" in b"\r\n".join(client.command(b"i FETCH 1 BODY[]"))
    if away.endswith(b"Other"):
        assert other.command(b"e STATUS Other (MESSAGES)")[0] == b"* STATUS Other (MESSAGES 0)"
    assert client.command(b"f APPEND Box {9+}\r\nA: b\r\n\r\nc")[-1].startswith(b"f OK [APPENDUID ")
    assert other.command(b"g STATUS Box (MESSAGES)")[0] == b"* STATUS Box (MESSAGES 2)"


def test_append_to_a_mailbox_that_is_deleted_meanwhile(wires: MemoryWires) -> None:
    other = wires.connect(login=True)
    client = wires.connect(login=True)
    other.command(b"a CREATE Box")
    client.send(b"a APPEND Box {9}\r\n")
    assert client.read_line() == b"+ OK"
    assert other.command(b"b DELETE Box")[-1].startswith(b"b OK")
    client.send(b"A: b\r\n\r\nc\r\n")
    assert client.read_line() == b"a NO [TRYCREATE] Mailbox doesn't exist; CREATE it first"


@pytest.mark.parametrize("command", [b"COPY 1 Box", b"MOVE 1 Box", b"APPEND Box {9+}\r\nA: b\r\n\r\nc"])
def test_a_target_that_goes_in_the_middle_may_be_made_again(wires: MemoryWires, spool: Spool, command: bytes) -> None:
    """RFC 3501 6.3.11, 6.4.7; and nobody else is told that his mailbox was deleted."""
    spool.simple("INBOX", 2)
    spool.folder("Box")
    client = selected(wires)

    def step(action: str, what: object) -> None:
        if action in ("link", "rename"):
            durable.step = None
            shutil.rmtree(spool.path("Box"))

    durable.step = step
    try:
        assert client.command(b"a " + command)[-1] == b"a NO [TRYCREATE] Mailbox doesn't exist; CREATE it first"
    finally:
        durable.step = None
    assert client.command(b"b FETCH 1:2 UID")[:2] == [b"* 1 FETCH (UID 1)", b"* 2 FETCH (UID 2)"]


def test_a_move_into_a_folder_that_is_being_removed_leaves_the_message(wires: MemoryWires, spool: Spool) -> None:
    spool.simple("INBOX", 1)
    spool.folder("Box")
    client = selected(wires)

    def step(action: str, what: object) -> None:
        if action == "link":
            durable.step = None
            spool.path("Box").rename(spool.root / "..trash")

    durable.step = step
    try:
        assert client.command(b"a MOVE 1 Box")[-1].startswith(b"a NO [TRYCREATE]")
    finally:
        durable.step = None
    assert client.command(b"b FETCH 1 UID")[0] == b"* 1 FETCH (UID 1)"
    assert len(spool.files("INBOX")) == 1


def test_a_size_that_cannot_be_had_is_not_nothing(wires: MemoryWires, spool: Spool) -> None:
    """The cache has the envelope of a message that somebody has just removed; nobody has counted its size."""
    spool.simple("INBOX", 3)
    client = selected(wires)
    assert client.command(b"a FETCH 1:3 ENVELOPE")[-1].startswith(b"a OK")
    next((spool.root / "cur").iterdir()).unlink()
    lines = client.command(b"b FETCH 1:3 (RFC822.SIZE ENVELOPE)")
    assert not any(b"RFC822.SIZE 0" in line for line in lines)
    assert sum(b"ENVELOPE" in line for line in lines) == 2
    assert lines[-1].startswith(b"b NO [EXPUNGEISSUED]")


@contextmanager
def made_anew(wires: MemoryWires, at: Collection[int]) -> Iterator[None]:
    """Delete Box and make it anew before those of the messages' files in tmp/ that *at* counts, from 1."""
    count = 0

    def step(action: str, what: object) -> None:
        nonlocal count
        if action != "create" or not str(what).startswith("b'tmp/"):
            return
        count += 1
        if count in at:
            durable.step = None
            wires.account.delete("Box")
            wires.account.create("Box")
            durable.step = step

    durable.step = step
    try:
        yield
    finally:
        durable.step = None


def test_append_that_begins_while_its_mailbox_is_made_anew(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    client.command(b"a CREATE Box")
    with made_anew(wires, at=[1]):
        lines = client.command(b"b APPEND Box {9+}\r\nA: b\r\n\r\nc")
    assert lines[-1].startswith(b"b OK [APPENDUID "), lines
    assert client.command(b"c STATUS Box (MESSAGES)")[0] == b"* STATUS Box (MESSAGES 1)"


def test_append_to_a_mailbox_that_never_stays(wires: MemoryWires) -> None:
    client = wires.connect(login=True)
    client.command(b"a CREATE Box")
    with made_anew(wires, at=range(1, 100)):
        lines = client.command(b"b APPEND Box {9+}\r\nA: b\r\n\r\nc")
    assert lines[-1].startswith(b"b NO [INUSE] "), lines
    assert client.command(b"c NOOP")[-1] == b"c OK NOOP completed"


def test_messages_whose_mailbox_is_made_anew_while_they_come(wires: MemoryWires) -> None:
    """Of the first nothing is left then, for only the last one's file is open: none is put in (RFC 3502)."""
    client = wires.connect(login=True)
    client.command(b"a CREATE Box")
    with made_anew(wires, at=[2]):
        lines = client.command(b"b APPEND Box {9+}\r\nA: b\r\n\r\nc {9+}\r\nA: b\r\n\r\nd")
    assert lines[-1].startswith(b"b NO [INUSE] "), lines
    assert client.command(b"c STATUS Box (MESSAGES)")[0] == b"* STATUS Box (MESSAGES 0)"


def test_create_of_a_mailbox_that_is_deleted_at_once(wires: MemoryWires, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was made: that somebody else has deleted it before its identifier could be read is another matter."""
    client = wires.connect(login=True)
    true = wires.account.create

    def create(name: str) -> None:
        true(name)
        wires.account.delete(name)

    monkeypatch.setattr(wires.account, "create", create)
    assert client.command(b"a CREATE Box")[-1] == b"a OK CREATE completed"


def test_a_folder_that_was_opened_on_its_way_out_is_not_read_only(
    wires: MemoryWires, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = wires.connect(login=True)
    client.command(b"a CREATE Box")
    monkeypatch.setattr(directories, "_writable", lambda number: False)
    wires.account.mailbox("Box")
    monkeypatch.undo()
    spool.path("Box").rename(spool.root / "..trash")
    Account(bytes(spool.root), fsync="never").create("Box")
    assert client.command(b"b APPEND Box {9+}\r\nA: b\r\n\r\nc")[-1].startswith(b"b OK [APPENDUID ")


@pytest.mark.parametrize("command", [b"APPEND Box {9+}\r\nA: b\r\n\r\nc", b"COPY 1 Box"])
def test_what_was_put_in_and_went_with_its_mailbox_was_put_in(spool: Spool, command: bytes) -> None:
    """Another client deletes the mailbox, and makes it anew, before the sync at the end of the command."""
    spool.simple("INBOX", 1)
    wires = MemoryWires(Account(bytes(spool.root)))
    client = selected(wires)
    client.command(b"a CREATE Box")
    box = wires.account.mailbox("Box")
    true = box._shared_sync.wait

    def wait() -> None:
        wires.account.delete("Box")
        wires.account.create("Box")
        true()

    box._shared_sync.wait = wait  # type: ignore[method-assign]  # once, for this object
    assert client.command(b"b " + command)[-1].startswith((b"b OK [APPENDUID ", b"b OK [COPYUID "))
    assert client.command(b"c STATUS Box (MESSAGES)")[0] == b"* STATUS Box (MESSAGES 0)"


def test_nothing_is_done_quickly_where_nothing_is_to_be_told(spool: Spool) -> None:
    """NOOP alone, in any state and case; with an argument, or a mailbox open, it is a command like others."""
    client = MemoryClient(Account(bytes(spool.root), fsync="never"))
    client.read_line()
    assert client.command(b"n NOOP") == [b"n OK NOOP completed"]
    client.command(b"L LOGIN ann secret")
    assert client.command(b"n noop") == [b"n OK NOOP completed"]
    assert client.command(b"n NOOP x")[0].startswith(b"n BAD ")
    for _ in range(POLICY.errors_in_a_row - 2):
        assert client.command(b"n NONSENSE")[0].startswith(b"n BAD ")
    assert client.command(b"n NOOP") == [b"n OK NOOP completed"]
    assert client.command(b"n NONSENSE")[0].startswith(b"n BAD "), "errors are counted from there on"
    client.command(b"s SELECT INBOX")
    spool.simple("INBOX", 1, None)
    assert b"* 1 EXISTS" in client.command(b"n NOOP")
    client.command(b"u UNSELECT")
    client.command(b"e ENABLE METADATA")
    other = MemoryClient(client.account)
    other.read_line()
    other.command(b"L LOGIN ann secret")
    other.command(b'm SETMETADATA INBOX (/private/comment "x")')
    assert any(line.startswith(b"* METADATA") for line in client.command(b"n NOOP"))
