"""Dovecot's auth protocol, beside servers that say what they should not."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from maildir_imapd.auth import dovecot, dovecot_talk
from maildir_imapd.auth.base import External, Identity, NoCredential, Password, Vouched
from maildir_imapd.auth.chain import Chain
from maildir_imapd.auth.devices import Devices
from maildir_imapd.auth.dovecot import DovecotAuth
from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.auth.mechanisms import Situation
from maildir_imapd.auth.offered import Offered
from maildir_imapd.auth.passwdfile import PasswdFile
from maildir_imapd.auth.static import Static
from maildir_imapd.errors import AuthenticationFailed, PrivacyRequired, Refused, Unavailable

HELLO = b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\nSPID\t7\nCUID\t1\nCOOKIE\tabc\nDONE\n"
ANSWERS = {
    b"ann": b"OK\t%s\tuser=Ann\thome=/home/ann\tuserdb_quota_rule=*:bytes=5\n",
    b"off": b"OK\t%s\tuser=off\tnologin\n",
    b"temp": b"FAIL\t%s\tuser=temp\ttemp\n",
    b"temp3": b"FAIL\t%s\tuser=temp\tcode=temp_fail\n",
    b"gone": b"FAIL\t%s\tuser=gone\tcode=user_disabled\n",
    b"odd": b"OK\t%s\tuser=../odd\n",
    b"owner": b"OK\t%s\tuid=no such user\n",
    b"other": b"CONT\t%s\t\nOK\t9999\tuser=root\nFAIL\t%s\n",
}


class FakeDovecot:
    """Listens at *path*; says what *hello* is, then what *answer* makes of each line."""

    def __init__(self, path: Path, hello: bytes, answer: Callable[[bytes], bytes]) -> None:
        self.path, self._hello, self._answer = str(path), hello, answer
        self.heard: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            self._open.append(sock)
            if len(self._open) > 1 and self._open[0] is self._listener:
                return
            thread = threading.Thread(target=self._serve, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock.makefile("rb") as lines:
            try:
                sock.sendall(self._hello)
                for line in lines:
                    self.heard.append(line)
                    if line.split(b"\t")[0] in (b"AUTH", b"CONT", b"USER", b"LIST", b"PASS"):
                        said = self._answer(line.rstrip(b"\n"))
                        if not said:
                            break
                        sock.sendall(said)
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side has gone

    def close(self) -> None:
        """End; by a last connection, which is not served."""
        self._open.insert(0, self._listener)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(self.path)
            self._threads[0].join()
        for each in self._open[1:]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()


def checks(line: bytes) -> bytes:
    _, number, *parts = line.split(b"\t")
    _, user, password = base64.b64decode(parts[-1].partition(b"=")[2]).split(b"\0")
    said = ANSWERS.get(user, b"FAIL\t%s\tuser=x\n") if password == b"secret" else b"FAIL\t%s\tuser=x\n"
    return said.replace(b"%s", number)


def users(line: bytes) -> bytes:
    kind, number, *parts = line.split(b"\t")
    if kind == b"LIST":
        return b"LIST\t%b\tann\nLIST\t%b\t../x\nLIST\t%b\tben\nDONE\t%b\n" % ((number,) * 4)
    if kind == b"PASS":
        return {
            b"ann": b"PASS\t%b\tuser=ann\tpassword={PLAIN}secret\n" % number,
            b"off": b"PASS\t%b\tuser=off\tnologin\n" % number,
            b"untold": b"FAIL\t%b\n" % number,
        }.get(parts[0], b"NOTFOUND\t%b\n" % number)
    return {
        b"locked": b"USER\t%b\tlocked\tnologin=y\n" % number,
        b"off": b"USER\t%b\toff\n" % number,
        b"denied": b"USER\t%b\tdenied\n" % number,
        b"untold": b"USER\t%b\tuntold\n" % number,
        b"ann": b"USER\t%b\tann\tuid=1000\tgid=100\thome=/home/a\x01tb\n" % number,
        b"Ann": b"USER\t%b\tann\tuid=1000\tgid=100\n" % number,
        b"down": b"FAIL\t%b\treason=database down\n" % number,
    }.get(parts[0], b"NOTFOUND\t%b\n" % number)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[FakeDovecot, FakeDovecot]]:
    found = (
        FakeDovecot(tmp_path / "client", HELLO, checks),
        FakeDovecot(tmp_path / "userdb", b"VERSION\t1\t1\nSPID\t1\n", users),
    )
    yield found
    for each in found:
        each.close()


def made(checks: FakeDovecot | None, knows: FakeDovecot | None = None, seconds: float = 30) -> DovecotAuth:
    return DovecotAuth(checks and checks.path, knows and knows.path, most=1, seconds=seconds)


def test_checking_alone(servers: tuple[FakeDovecot, FakeDovecot]) -> None:
    asked = made(servers[0])
    found = asked.check(Password("ann", b"secret"))
    assert (found.user, found.home) == ("Ann", "/home/ann")
    for user, password in [
        ("ann", b"wrong"),
        ("off", b"secret"),
        ("other", b"secret"),
        ("x", b""),
        ("a\tb", b"secret"),
    ]:
        with pytest.raises(AuthenticationFailed):
            asked.check(Password(user, password))
    with pytest.raises(AuthenticationFailed) as gone:
        asked.check(Password("gone", b"secret"))
    assert gone.value.detail == "user-disabled"
    for user in ("temp", "temp3", "odd", "owner"):
        with pytest.raises(Unavailable):
            asked.check(Password(user, b"secret"))
    assert asked.look_up("anybody") is not None
    assert list(asked.users()) == []
    # One connection for all of it, and no name with a tab went by it.
    assert sum(line.startswith(b"CPID") for line in servers[0].heard) == 1
    assert all(line.count(b"\t") == 7 for line in servers[0].heard if line.startswith(b"AUTH"))


def test_looking_up(servers: tuple[FakeDovecot, FakeDovecot]) -> None:
    asked = made(servers[0], servers[1])
    found = asked.look_up("ann")
    assert found is not None
    assert found.identity == Identity("ann", home="/home/a\tb", uid=1000, gid=100)
    for name in ("nobody", "a\tb", "a\nLIST\t1", ""):
        assert asked.look_up(name) is None
    with pytest.raises(Unavailable):
        asked.look_up("down")
    assert asked.check(Password("ann", b"secret")) == Identity("ann", uid=1000, gid=100)
    assert list(asked.users()) == ["ann", "ben"]
    assert made(None, servers[1]).look_up("ann") == found
    with pytest.raises(AuthenticationFailed):
        made(None, servers[1]).check(Password("ann", b"secret"))


@pytest.mark.parametrize(
    "hello", [b"VERSION\t2\t0\nDONE\n", b"HELLO\n", b"x" * 40000, b"VERSION\t1\t1\nMECH\tLOGIN\nDONE\n"]
)
def test_another_protocol_is_no_wrong_password(tmp_path: Path, hello: bytes) -> None:
    server = FakeDovecot(tmp_path / "client", hello, checks)
    with pytest.raises(Unavailable):
        made(server).check(Password("ann", b"secret"))
    server.close()


def test_one_that_hangs_up_or_says_nothing(tmp_path: Path) -> None:
    server = FakeDovecot(tmp_path / "client", HELLO, lambda line: b"")
    with pytest.raises(Unavailable):
        made(server).check(Password("ann", b"secret"))
    server.close()
    silent = FakeDovecot(tmp_path / "silent", HELLO, lambda line: b"NEWS\t1\n")
    with pytest.raises(Unavailable):
        made(silent, seconds=0.3).check(Password("ann", b"secret"))
    silent.close()
    with pytest.raises(Unavailable):
        DovecotAuth(str(tmp_path / "none"), None, most=1, seconds=1).check(Password("ann", b"secret"))


def test_words_end_neither_themselves_nor_their_line() -> None:
    for word in (b"plain", b"a\tb", b"\0\1\t\r\n", b"\1t", b"\1\1", b""):
        written = dovecot_talk.escaped(word)
        assert not set(written) & set(b"\0\t\r\n")
        assert dovecot_talk.words(written + b"\t" + written) == [word, word]
    assert dovecot_talk.words(b"\1x\1") == [b"x\1"]


def test_without_a_password(servers: tuple[FakeDovecot, FakeDovecot]) -> None:
    asked = made(servers[0], servers[1])
    assert External in asked.takes
    assert External not in made(servers[0]).takes
    assert asked.check(External("ann")) == Identity("ann", home="/home/a\tb", uid=1000, gid=100)
    for name in ("off", "denied", "locked", "nobody", "a\tb", ""):
        with pytest.raises(AuthenticationFailed):
            asked.check(External(name))
    with pytest.raises(AuthenticationFailed):
        made(servers[0]).check(External("ann"))
    with pytest.raises(Unavailable):
        asked.check(External("untold"))


def test_from_where_somebody_comes_is_said(servers: tuple[FakeDovecot, FakeDovecot]) -> None:
    asked = made(servers[0], servers[1])
    hosts = ["192.0.2.7", "::ffff:192.0.2.7", "fe80::1%eth0", "no address\tuser=root", "", None]
    for host in hosts:
        asked.check(Password("ann", b"secret", host=host))
        asked.check(External("ann", host=host))
    said = ["192.0.2.7", "192.0.2.7", "fe80::1", None, None, None]
    for server, kind in ((servers[0], b"AUTH"), (servers[1], b"PASS")):
        lines = [
            dovecot_talk.named(dovecot_talk.words(line.rstrip())) for line in server.heard if line.startswith(kind)
        ]
        assert [words.get("rip") for words in lines] == said
        assert not any("user" in words for words in lines)


# --- mechanisms of its own ------------------------------------------------------------------------

MORE = HELLO.replace(
    b"SPID",
    b"MECH\tCRAM-MD5\tdictionary\nMECH\tscram-sha-1\nMECH\tSCRAM-SHA-1-PLUS\nMECH\tEXTERNAL\nMECH\n"
    b"MECH\tbad name\nMECH\tPLAIN\nSPID",
)


def leads(line: bytes) -> bytes:
    """Two steps: a challenge, and what the answer to it deserves."""
    kind, number, *parts = line.split(b"\t")
    if kind == b"AUTH":
        return {
            b"CRAM-MD5": b"CONT\t%b\t%b\n" % (number, base64.b64encode(b"<1@x>")),
            b"SCRAM-SHA-1": b"CONT\t%b\t???\n" % number,
        }.get(parts[0], b"FAIL\t%b\treason=none\n" % number)
    return {
        b"good": b"OK\t%b\tuser=Ann\thome=/home/ann\n" % number,
        b"off": b"OK\t%b\tuser=off\tnologin\n" % number,
        b"temp": b"FAIL\t%b\tuser=ann\ttemp\n" % number,
        b"more": b"CONT\t%b\t\n" % number,
        b"end": b"",
    }.get(base64.b64decode(parts[0]), b"FAIL\t%b\tuser=ben\n" % number)


@pytest.fixture
def leading(tmp_path: Path) -> Iterator[FakeDovecot]:
    server = FakeDovecot(tmp_path / "leads", MORE, leads)
    yield server
    server.close()


def exchanged(back_end: DovecotAuth, *responses: bytes, name: str = "CRAM-MD5", host: str = "") -> list[Any]:
    """The challenges of an exchange, and what has come of it at the end."""
    exchange = back_end.relay(name, Situation(host=host or None))
    found: list[Any] = []
    try:
        found.append(next(exchange))
        for response in responses:
            found.append(exchange.send(response))  # noqa: PERF401  # a generator would turn its end into an error
    except StopIteration as stop:
        found.append(stop.value)
    return found


def test_mechanisms_of_its_own(leading: FakeDovecot) -> None:
    asked = made(leading)
    assert Vouched in asked.takes
    names = asked.relayed
    assert names == ("CRAM-MD5", "SCRAM-SHA-1")
    assert asked.relayed is names  # a list holds for a while
    *challenges, found = exchanged(asked, b"more", b"good", host="192.0.2.7")
    assert challenges == [b"<1@x>", b""]
    assert found == Vouched("Ann", {})
    assert asked.check(found) == Identity("Ann", home="/home/ann")
    assert b"AUTH\t1\tCRAM-MD5\tservice=imap\tprotocol=imap\trip=192.0.2.7\tsecured\tno-penalty\n" in leading.heard
    assert exchanged(asked, b"x") == [b"<1@x>", NoCredential("ben")]
    assert exchanged(asked, name="NTLM") == [NoCredential()]


def test_one_who_is_locked_out_there(leading: FakeDovecot) -> None:
    asked = made(leading)
    found = exchanged(asked, b"off")[-1]
    for each in (found, Vouched("../ann", {}), Vouched("", {})):
        with pytest.raises(AuthenticationFailed):
            asked.check(each)


def test_trouble_in_an_exchange_is_no_wrong_password(leading: FakeDovecot, tmp_path: Path) -> None:
    for responses, name in (((b"temp",), "CRAM-MD5"), ((b"end",), "CRAM-MD5"), ((b"x",), "SCRAM-SHA-1")):
        with pytest.raises(Unavailable):
            exchanged(made(leading), *responses, name=name)
    away = DovecotAuth(str(tmp_path / "nowhere"), None, most=1, seconds=30)
    assert away.relayed == ()
    with pytest.raises(Unavailable):
        exchanged(away)
    assert DovecotAuth(None, str(tmp_path / "nowhere"), most=1, seconds=30).relayed == ()


def test_exchanges_are_bounded_and_one_that_is_left_ends(leading: FakeDovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "_EXCHANGES", 2)
    asked = made(leading)
    open_ones = [asked.relay("CRAM-MD5", Situation()) for _ in range(3)]
    assert next(open_ones[0]) == next(open_ones[1]) == b"<1@x>"
    with pytest.raises(Unavailable):
        next(open_ones[2])
    open_ones[0].close()
    assert exchanged(asked, b"good")[-1] == Vouched("Ann", {})
    open_ones[1].close()


def test_what_is_offered(leading: FakeDovecot, tmp_path: Path) -> None:
    def offered(chain: Chain, *names: str) -> list[str]:
        found = Offered(chain, names, Situation).offered(private=True)
        return [name.decode() for name in found]

    asked = made(leading)
    alone = Chain([asked])
    assert offered(alone) == ["SCRAM-SHA-1", "PLAIN", "LOGIN", "CRAM-MD5"]
    assert offered(alone, "SCRAM-SHA-1", "PLAIN", "NTLM") == ["SCRAM-SHA-1", "PLAIN"]
    kept = LookUps(Joined(asked, [Static({})]), seconds=1, nobody_seconds=1)
    assert offered(Chain([kept])) == offered(alone)
    # Where others decide about passwords too, their users would be shut out, unless the administrator says so.
    (tmp_path / "passwd").write_text("ben:{PLAIN}secret\n")
    both = Chain([PasswdFile(str(tmp_path / "passwd")), asked])
    assert offered(both) == ["PLAIN", "LOGIN"]
    assert offered(both, "SCRAM-SHA-1") == ["SCRAM-SHA-1"]
    (tmp_path / "devices").write_text("")
    assert offered(Chain([asked], devices=[Devices(str(tmp_path / "devices"))])) == ["PLAIN", "LOGIN"]
    exchange = Offered(Chain([kept]), (), Situation).begin(b"CRAM-MD5", private=True)
    assert next(exchange) == b"<1@x>"
    with pytest.raises(StopIteration) as end:
        exchange.send(b"good")
    assert Chain([kept]).identify(end.value.value).user == "Ann"
    exchange.close()
    with pytest.raises(Refused, match="not supported"):
        Offered(alone, (), Situation).begin(b"NTLM", private=True)
    with pytest.raises(PrivacyRequired):
        Offered(alone, (), Situation).begin(b"CRAM-MD5", private=False)
