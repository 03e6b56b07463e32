"""Dovecot's auth protocol, as Postfix and Exim speak it."""

from __future__ import annotations

import base64
import signal
import socket
import stat
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import Asker, answering
from hypothesis import given
from hypothesis import strategies as st
from running import start_server, stop_server
from scramp import ScramClient

from maildir_imapd.server import asking
from maildir_imapd.server.auth_service import EXCHANGES, LINE_OCTETS, escape, unescape

USERS = "ann:{PLAIN}secret\nben@example.org:{PLAIN}secret::::::allow_nets=192.0.2.0/24\n"


def plain(user: str, password: str) -> bytes:
    return base64.b64encode(f"\0{user}\0{password}".encode())


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    with answering(tmp_path, ["auth"], USERS) as addresses:
        yield addresses["auth"]


@pytest.fixture
def asker(address: tuple[str, int]) -> Iterator[Asker]:
    with greeted(address) as found:
        yield found


def greeted(address: tuple[str, int], version: bytes = b"1\t2") -> Asker:
    found = Asker(address)
    while found.line() != b"DONE\n":
        pass
    found.send(b"VERSION\t%b\nCPID\t4711\n" % version)
    return found


@given(st.text(alphabet="\0\1\t\r\nabc01trné"))
def test_a_value_is_what_it_was(text: str) -> None:
    written = escape(text)
    assert not set(written) & set(b"\0\t\r\n")
    assert unescape(written).decode() == text


@given(st.binary(max_size=20))
def test_any_value_can_be_read(octets: bytes) -> None:
    assert len(unescape(octets)) <= len(octets)


def test_the_greeting(address: tuple[str, int]) -> None:
    with Asker(address) as asker:
        lines = [asker.line() for _ in range(9)]
    words = [line.rstrip(b"\n").split(b"\t") for line in lines]
    # Each user of this file has a password that can be read, so SCRAM is there; nothing else that is known by a
    # connection of ours, or by nobody.
    assert words[:5] == [
        [b"VERSION", b"1", b"2"],
        [b"MECH", b"SCRAM-SHA-256"],
        [b"MECH", b"SCRAM-SHA-1"],
        [b"MECH", b"PLAIN", b"plaintext"],
        [b"MECH", b"LOGIN", b"plaintext"],
    ]
    assert [line[0] for line in words[5:]] == [b"SPID", b"CUID", b"COOKIE", b"DONE"]
    assert len(words[7][1]) == 32


def test_scram(asker: Asker) -> None:
    """The last word of the server is a challenge, which Postfix's client answers with nothing."""
    client = ScramClient(["SCRAM-SHA-256"], "ann", "secret")
    asker.send(b"AUTH\t1\tSCRAM-SHA-256\tservice=smtp\tresp=%b\n" % b64encode(client.get_client_first().encode()))
    client.set_server_first(challenge(asker.line()))
    asker.send(b"CONT\t1\t%b\n" % b64encode(client.get_client_final().encode()))
    client.set_server_final(challenge(asker.line()))
    asker.send(b"CONT\t1\t\n")
    assert asker.line() == b"OK\t1\tuser=ann\n"
    client = ScramClient(["SCRAM-SHA-256"], "ann", "wrong")
    asker.send(b"AUTH\t2\tSCRAM-SHA-256\tservice=smtp\tresp=%b\n" % b64encode(client.get_client_first().encode()))
    client.set_server_first(challenge(asker.line()))
    asker.send(b"CONT\t2\t%b\n" % b64encode(client.get_client_final().encode()))
    assert asker.line() == b"FAIL\t2\tuser=ann\n"


def challenge(line: bytes) -> str:
    kind, _, data = line.rstrip(b"\n").split(b"\t")
    assert kind == b"CONT"
    return b64decode(data).decode()


@pytest.mark.parametrize("name", [b"EXTERNAL", b"ANONYMOUS", b"SCRAM-SHA-256-PLUS", b"XOAUTH2", b"none"])
def test_what_lets_nobody_in_is_not_there(asker: Asker, name: bytes) -> None:
    asker.send(b"AUTH\t1\t%b\tservice=smtp\n" % name)
    assert asker.line().startswith(b"FAIL\t1\treason=")


def test_plain(asker: Asker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    asker.send(b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\trip=192.0.2.7\trport=25\tresp=%b\n" % plain("ann", "secret"))
    assert asker.line() == b"OK\t1\tuser=ann\n"
    asker.send(b"AUTH\t2\tPLAIN\tservice=smtp\trip=192.0.2.7\tresp=%b\n" % plain("ann", "wrong"))
    assert asker.line() == b"FAIL\t2\tuser=ann\n"
    asker.send(b"AUTH\t3\tPLAIN\tservice=smtp\trip=2001:db8::7\tresp=%b\n" % plain("nob\tody", "wrong"))
    assert asker.line() == b"FAIL\t3\tuser=nob\1tody\n"
    asker.send(b"AUTH\t4\tplain\tservice=smtp\n")
    assert asker.line() == b"CONT\t4\t\n"
    asker.send(b"CONT\t4\t%b\n" % plain("ann", "secret"))
    assert asker.line() == b"OK\t4\tuser=ann\n"
    assert "authenticated user=ann peer=192.0.2.7:25 service=smtp method=PLAIN" in caplog.text
    assert "login failed user=ann peer=192.0.2.7:0 tries=1" in caplog.text
    assert "secret" not in caplog.text


def test_login_and_several_at_once(asker: Asker) -> None:
    asker.send(b"AUTH\t1\tLOGIN\tservice=smtp\nAUTH\t2\tLOGIN\tservice=smtp\nAUTH\t3\tLOGIN\tservice=smtp\n")
    for n in (1, 2, 3):
        assert asker.line() == b"CONT\t%d\tVXNlcm5hbWU6\n" % n
    asker.send(b"CONT\t2\tYW5u\nCANCEL\t3\n")
    assert asker.line() == b"CONT\t2\tUGFzc3dvcmQ6\n"
    asker.send(b"CONT\t2\t%b\nCONT\t1\t*\n" % base64.b64encode(b"secret"))
    assert asker.line() == b"OK\t2\tuser=ann\n"
    assert asker.line().startswith(b"FAIL\t1\tcode=invalid_base64")
    # The third is free again.
    asker.send(b"AUTH\t3\tPLAIN\tresp=%b\n" % plain("ann", "secret"))
    assert asker.line() == b"OK\t3\tuser=ann\n"


def test_an_empty_initial_response_is_none(asker: Asker) -> None:
    """So Exim asks where its client has sent none."""
    asker.send(b"AUTH\t1\tLOGIN\tservice=smtp\tnologin\tresp=\n")
    assert asker.line() == b"CONT\t1\tVXNlcm5hbWU6\n"


def test_from_where(asker: Asker) -> None:
    """A user whom only some networks may log in; who does not say from where is in none."""
    for rip, right in ((b"rip=192.0.2.7", True), (b"rip=198.51.100.1", False), (b"rip=x", False), (b"secured", False)):
        asker.send(b"AUTH\t1\tPLAIN\tservice=smtp\t%b\tresp=%b\n" % (rip, plain("ben@example.org", "secret")))
        assert asker.line().startswith(b"OK" if right else b"FAIL\t1\tuser="), rip


def test_other_failures(asker: Asker) -> None:
    for words, answer in (
        (b"CRAM-NONE\tresp=", b"FAIL\t1\treason="),
        (b"PLAIN\tresp=%b" % base64.b64encode(b"\xff\0\xff\0\xff"), b"FAIL\t1\tuser=\xef\xbf\xbd\n"),
        (b"PLAIN\tresp=%b" % base64.b64encode(b"ann"), b"FAIL\t1\tuser=\n"),
        (b"PLAIN\tresp=%b" % base64.b64encode(b"ben\0ann\0secret"), b"FAIL\t1\tuser=ann\tauthz"),
        (b"PLAIN\tresp=%b" % base64.b64encode(b"\0\0"), b"FAIL\t1\tuser="),
        (b"\xff\tresp=", b"FAIL\t1\treason="),
    ):
        asker.send(b"AUTH\t1\t%b\n" % words)
        assert asker.line().startswith(answer), words


def test_a_back_end_that_is_down(tmp_path: Path, address: tuple[str, int]) -> None:
    (tmp_path / "passwd").unlink()
    (tmp_path / "passwd").mkdir()
    question = b"AUTH\t1\tPLAIN\tresp=%b\n" % plain("ann", "secret")
    with greeted(address) as asker:
        asker.send(question)
        assert asker.line() == b"FAIL\t1\tuser=ann\ttemp\tcode=temp_fail\n"
    # Postfix would take that for a wrong password: the connection ends.
    with greeted(address, b"1\t0") as asker:
        asker.send(question)
        assert asker.rest() == b""


def test_an_error_of_ours_is_no_wrong_password(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("maildir_imapd.auth.chain.Chain.identify", broken)
    asker.send(b"AUTH\t1\tPLAIN\tresp=%b\n" % plain("ann", "secret"))
    assert asker.line() == b"FAIL\t1\tuser=ann\ttemp\tcode=temp_fail\n"
    assert "login failed by an error" in caplog.text


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"AUTH\tx\tPLAIN\n", "without a number"),
        (b"AUTH\n", "without a number"),
        (b"AUTH\t1\n", "without a number"),
        (b"AUTH\t12345678901\tPLAIN\n", "without a number"),
        (b"AUTH\t1\tPLAIN\nAUTH\t1\tPLAIN\n", "the number of one that goes on"),
        (b"CONT\t1\tYQ==\n", "CONT for nothing"),
        (b"CONT\n", "CONT for nothing"),
        (b"VERSION\t2\t0\n", "another version"),
        (b"AUTH\t1\0\tPLAIN\n", "a NUL"),
        (b"\0" * 10, "a NUL"),
        (b"x" * (LINE_OCTETS + 2), "too long"),
        (b"".join(b"AUTH\t%d\tPLAIN\n" % n for n in range(EXCHANGES + 1)), "too many logins"),
    ],
)
def test_what_is_out_of_step_ends(asker: Asker, sent: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    asker.send(sent)
    assert all(line.startswith(b"CONT") for line in asker.rest().splitlines())
    (record,) = [each for each in caplog.records if each.message == "bad request"]
    assert why in str(record.fields["why"])  # type: ignore[attr-defined]


def test_it_begins_with_the_version(address: tuple[str, int]) -> None:
    for sent in (b"AUTH\t1\tPLAIN\n", b"GET / HTTP/1.1\r\n\r\n"):
        with Asker(address) as asker:
            asker.send(sent)
            assert asker.rest().endswith(b"DONE\n")


def test_half_a_line_has_its_time(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asker.send(b"AUTH\t1\tPLAIN\tresp=%b\n" % plain("ann", "secret"))
    assert asker.line().startswith(b"OK")
    monkeypatch.setattr(asking, "REQUEST_SECONDS", 0.2)
    asker.send(b"AUTH\t2\tPLAIN")
    assert asker.rest() == b""
    assert "request not finished service=auth" in caplog.text


def test_one_who_asks_too_often_is_refused_and_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(asking, "CONNECTIONS", 2)
    with answering(tmp_path, ["auth"], USERS) as addresses:
        here = [greeted(addresses["auth"]) for _ in range(2)]
        with Asker(addresses["auth"]) as third:
            assert third.rest() == b""
        assert "connection refused" in caplog.text
        for asker in here:
            asker.send(b"AUTH\t1\tPLAIN\tresp=%b\n" % plain("ann", "secret"))
            assert asker.line().startswith(b"OK")
            asker.close()


# --- a whole server -------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_socket_of_a_server(tmp_path: Path) -> None:
    """All workers answer at it, also new ones; what is left of a server that was killed is replaced."""
    path = tmp_path / "auth"

    def answered() -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(str(path))
            with sock.makefile("rwb") as file:
                spid = b""
                while (line := file.readline()) != b"DONE\n":
                    spid = line if line.startswith(b"SPID") else spid
                file.write(b"VERSION\t1\t2\nAUTH\t1\tPLAIN\tresp=%b\n" % plain("u0", "secret"))
                file.flush()
                assert file.readline() == b"OK\t1\tuser=u0\n"
        return spid

    killed = start_server(tmp_path, f"--auth-socket={path}", "--socket-mode=0600", log="killed")
    killed.process.kill()
    killed.process.wait()
    assert killed.process.stdout is not None
    killed.process.stdout.close()
    # Its workers see within a second that they are alone.
    deadline = time.monotonic() + 30
    while (tmp_path / "killed").read_text().count("the supervisor is gone") < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    while True:
        try:
            server = start_server(tmp_path, f"--auth-socket={path}", "--socket-mode=0600")
            break
        except AssertionError:
            assert time.monotonic() < deadline
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        before = set()
        while len(before) < 2:
            before.add(answered())
            assert time.monotonic() < deadline
        server.process.send_signal(signal.SIGHUP)
        while answered() in before:
            assert time.monotonic() < deadline
    finally:
        stop_server(server)
    assert not path.exists()


# --- a login proxy --------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [b"service", b"protocol"])
def test_a_login_proxy_is_told_a_host(word: bytes, tmp_path: Path) -> None:
    """With ``hosts``, and for the service imap alone, which Dovecot 2.4 calls a protocol: Postfix is told nothing."""
    users = "ann:{PLAIN}se\tcret\n"
    secret = base64.b64encode(b"\0ann\0se\tcret")
    with (
        answering(tmp_path, ["auth"], users, hosts=["one=192.0.2.1:143"]) as addresses,
        greeted(addresses["auth"]) as asker,
    ):
        asker.send(b"AUTH\t1\tPLAIN\t%b=imap\tresp=%b\n" % (word, secret))
        assert asker.line().rstrip(b"\n").split(b"\t") == [
            b"OK", b"1", b"user=ann", b"nologin", b"proxy", b"host=192.0.2.1", b"port=143", b"pass=se\1tcret",
        ]  # fmt: skip
        asker.send(b"AUTH\t2\tPLAIN\tservice=smtp\tresp=%b\n" % secret)
        assert asker.line() == b"OK\t2\tuser=ann\n"
        asker.send(b"AUTH\t3\tPLAIN\tservice=imap\tresp=%b\n" % plain("ann", "wrong"))
        assert asker.line().startswith(b"FAIL\t3\t")


def test_a_proof_cannot_be_handed_on(tmp_path: Path) -> None:
    with (
        answering(tmp_path, ["auth"], USERS, hosts=["one=192.0.2.1:143"]) as addresses,
        greeted(addresses["auth"]) as asker,
    ):
        client = ScramClient(["SCRAM-SHA-256"], "ann", "secret")
        asker.send(b"AUTH\t1\tSCRAM-SHA-256\tservice=imap\tresp=%b\n" % b64encode(client.get_client_first().encode()))
        client.set_server_first(b64decode(asker.line().split(b"\t")[2]).decode())
        asker.send(b"CONT\t1\t%b\n" % b64encode(client.get_client_final().encode()))
        client.set_server_final(b64decode(asker.line().split(b"\t")[2]).decode())
        asker.send(b"CONT\t1\t\n")
        said = asker.line().rstrip(b"\n").split(b"\t")
        assert said[:2] == [b"FAIL", b"1"]
        assert b"temp" in said
