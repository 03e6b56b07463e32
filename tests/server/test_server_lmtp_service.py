"""LMTP over sockets: one worker, and servers of several with clients that wait."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import answering
from client import Client
from lmtp_talker import Lmtp, good
from running import give_to, open_to_all, start_server, stop_server
from spool import Spool

from maildir_imapd.server import asking, owners
from maildir_imapd.store.account import Account
from maildir_imapd.store.disk import durable

USERS = (
    "ann:{PLAIN}secret\nben:{PLAIN}secret\ncyd:{PLAIN}secret::::::userdb_quota_rule=*:storage=1K\n"
    "dan+a:{PLAIN}secret\ndan:{PLAIN}secret\n"
)
MESSAGE = b"Message-ID: <one@example.org>\r\nSubject: hello\r\n\r\nbody\r\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for user in ("ann", "ben", "cyd", "dan", "dan+a"):
        Spool(tmp_path / user / "Maildir")
    return tmp_path


@pytest.fixture
def client(base: Path) -> Iterator[Lmtp]:
    with answering(base, ["lmtp"], USERS) as addresses, Lmtp(addresses["lmtp"]) as found:
        yield found


def files(base: Path, user: str, folder: str = "") -> list[Path]:
    path = base / user / "Maildir" / folder
    return sorted(each for sub in ("cur", "new", "tmp") for each in (path / sub).iterdir())


def test_one_file_for_all(client: Lmtp, base: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    assert good(client.deliver(MESSAGE, "ann", "BEN", "dan"))
    found = [files(base, user) for user in ("ann", "ben", "dan")]
    assert [len(each) for each in found] == [1, 1, 1]
    assert len({each.stat().st_ino for (each,) in found}) == 1
    text = found[0][0].read_bytes()
    assert text.startswith(b"Return-Path: <sender@example.org>\nReceived: from client.example.org\n\tby ")
    assert text.endswith(MESSAGE.replace(b"\r\n", b"\n"))
    assert b"Delivered-To" not in text, "none of them is told of the others"
    lines = text.count(b"\n")
    assert f",S={len(text)},W={len(text) + lines}:2," in found[0][0].name
    fields = [record.fields for record in caplog.records if record.msg == "delivered"]  # type: ignore[attr-defined]
    assert [each["user"] for each in fields] == ["ann", "ben", "dan"]
    assert fields[0]["message_id"] == b"<one@example.org>"
    assert fields[0]["octets"] == len(text)


def test_alone_his_name_stands_in_it(client: Lmtp, base: Path) -> None:
    assert good(client.deliver(MESSAGE, "ann"))
    assert b"\nDelivered-To: ann\n" in files(base, "ann")[0].read_bytes()


def test_folders(client: Lmtp, base: Path) -> None:
    Spool(base / "ann" / "Maildir").folder("Lists")
    assert good(client.deliver(MESSAGE, "ann+Lists"))
    assert good(client.deliver(MESSAGE, "ANN+lists"))
    assert good(client.deliver(MESSAGE, "ann+nothing"))
    assert good(client.deliver(MESSAGE, "ann+"))
    assert good(client.deliver(MESSAGE, "ann+../ben"))
    assert len(files(base, "ann", ".Lists")) == 2
    assert len(files(base, "ann")) == 3
    # The whole address goes before its parts.
    assert good(client.deliver(MESSAGE, "dan+a"))
    assert (len(files(base, "dan+a")), len(files(base, "dan"))) == (1, 0)


def test_twice_the_same_mailbox(client: Lmtp, base: Path) -> None:
    assert good(client.deliver(MESSAGE, "ann", "ann", "ann+nothing"))
    assert len(files(base, "ann")) == 1


def test_whom_there_is(client: Lmtp, base: Path) -> None:
    said = client.begin("nobody", "../ann", '"ann ben"', "ann")
    assert [each.split()[:2] for each in said] == [["550", "5.1.1"]] * 3 + [["250", "2.1.5"]]
    client.command(b"RSET")
    (base / "passwd").rename(base / "away")
    (base / "passwd").mkdir()
    assert client.begin("ann")[0].startswith("451 4.3.0 ")


@pytest.mark.parametrize(("setting", "answer"), [("reject", "552 5.2.2 "), ("defer", "452 4.2.2 ")])
def test_quota(base: Path, setting: str, answer: str) -> None:
    with answering(base, ["lmtp"], USERS, delivery_over_quota=setting) as addresses, Lmtp(addresses["lmtp"]) as client:
        said = client.begin("cyd", "ann")
        assert [each[:3] for each in said] == ["250", "250"]
        # It shows with the message that it is too large for one of them.
        said = client.data(b"Subject: x\r\n\r\n" + b"x" * 2000 + b"\r\n", 2)
        assert said[0].startswith(answer)
        assert said[1] == "250 2.1.5 Stored"
        assert files(base, "cyd") == []
        client.command(b"MAIL FROM:<> SIZE=5000")
        assert client.command(b"RCPT TO:<cyd>").startswith(answer)


def test_a_full_disk_leaves_nothing(client: Lmtp, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert good(client.deliver(MESSAGE, "ann", "ben"))
    before = files(base, "ann"), files(base, "ben")
    step, hit = 0, True
    refused = 0
    while hit:
        step += 1
        left = [step]

        def full(action: str, what: object, left: list[int] = left) -> None:
            if action in ("write", "create", "link", "rename"):
                left[0] -= 1
                if left[0] == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        client.begin("ann", "ben")
        monkeypatch.setattr(durable, "step", full)
        answers = client.data(MESSAGE, 2)
        assert client.command(b"NOOP").startswith("250 ")
        monkeypatch.setattr(durable, "step", None)
        hit = left[0] <= 0
        found = files(base, "ann"), files(base, "ben")
        for said, had, has in zip(answers, before, found, strict=True):
            assert said.startswith(("250 2.1.5", "452 4.3.1"))
            assert len(has) - len(had) == said.startswith("250"), (step, answers)
        refused += not good(answers)
        before = found
    assert refused > 5, step


def test_half_a_message_is_none(base: Path) -> None:
    with answering(base, ["lmtp"], USERS) as addresses:
        for sent in (b"DATA\r\nSubject: x\r\n", b"DATA\r\nSubject: x\r\n\r\n.\r", b"BDAT 99 LAST\r\nx", b"BDAT 1\r\nx"):
            with Lmtp(addresses["lmtp"]) as client:
                client.begin("ann", "ben")
                client.send(sent)
                client.sock.shutdown(socket.SHUT_WR)
                while client.answer():
                    pass
        with Lmtp(addresses["lmtp"]) as client:
            assert good(client.deliver(MESSAGE, "ann"))
    assert len(files(base, "ann")) == 1
    assert files(base, "ben") == []


def test_smuggling(client: Lmtp, base: Path) -> None:
    inner = b"MAIL FROM:<evil>\r\nRCPT TO:<ben>\r\nDATA\r\nevil\r\n"
    for look in (b"\n.\n", b"\r\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\r\r\n"):
        client.begin("ann")
        assert client.command(b"DATA").startswith("354 ")
        client.send(b"Subject: x\r\n\r\nx" + look + inner + b".\r\nNOOP\r\n")
        assert [client.answer()[:3] for _ in range(2)] == ["250", "250"]
    assert len(files(base, "ann")) == 5
    assert files(base, "ben") == []
    assert all(b"RCPT TO:<ben>" in each.read_bytes() for each in files(base, "ann"))


def test_a_large_message_is_not_held(client: Lmtp, base: Path) -> None:
    line = b"x" * 998 + b"\r\n"
    client.begin("ann", "ben")
    assert client.command(b"DATA").startswith("354 ")
    seen = 0
    for _ in range(40):
        client.send(line * 1000)
        # What has come lies in tmp/ long before the end.
        seen = max(seen, sum(each.stat().st_size for each in files(base, "ann")))
    assert seen > 20_000_000
    client.send(b".\r\n")
    assert good([client.answer(), client.answer()])


def test_who_is_not_trusted(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with (
        answering(base, ["lmtp"], USERS, lmtp_networks=["192.0.2.0/24"]) as addresses,
        Lmtp(addresses["lmtp"], greeted=False) as client,
    ):
        assert client.answer().startswith("554 5.7.1 ")
        assert client.answer() == ""
    assert "connection refused" in caplog.text


def test_too_many_connections_hear_why(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CONNECTIONS", 1)
    with (
        answering(base, ["lmtp"], USERS) as addresses,
        Lmtp(addresses["lmtp"]),
        Lmtp(addresses["lmtp"], greeted=False) as other,
    ):
        assert other.answer().startswith("421 4.3.2 ")


def test_an_error_of_ours_loses_no_mail(
    client: Lmtp, base: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("maildir_imapd.store.folder.changes.bring_in", broken)
    assert client.deliver(MESSAGE, "ann")[0].startswith("451 4.3.0 ")
    assert files(base, "ann") == []
    assert "ZeroDivisionError" in caplog.text


def test_what_clients_ask_for_is_in_the_cache(client: Lmtp, base: Path) -> None:
    """The fields that are kept of other messages of the folder are made of what comes in."""
    assert good(client.deliver(MESSAGE, "ann"))
    box = Account(os.fsencode(base / "ann" / "Maildir"), fsync="never").mailbox("INBOX")
    box.sync(files=True)
    box.cache.put_many(b"envelope", [(1, b"x")])
    assert good(client.deliver(MESSAGE, "ann"))
    assert client.command(b"NOOP").startswith("250 ")  # behind the work
    (envelope,) = box.cache.get_many([2], b"envelope")
    assert envelope is not None
    assert envelope.startswith(b'(NIL "hello" ')


# --- whole servers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_clients_of_all_workers_are_told(tmp_path: Path) -> None:
    socket_at = tmp_path / "lmtp"
    running = start_server(tmp_path, "--lmtp-listen=127.0.0.1:0", f"--lmtp-listen={socket_at}")
    try:
        user, spool = running.user()
        spool.folder("Lists")
        clients = [Client.to(running.port, user=user) for _ in range(6)]
        for n, client in enumerate(clients):
            client.ok("SELECT INBOX" if n % 2 else "SELECT Lists")
        tags = [client.idle() for client in clients]
        with Lmtp(("127.0.0.1", running.ports["lmtp"])) as tcp, Lmtp(str(socket_at)) as local:
            assert good(tcp.deliver(MESSAGE, user))
            assert good(local.deliver(MESSAGE, f"{user}+lists"))
            for client in clients:
                client.until(r"\* 1 EXISTS")
        for client, tag in zip(clients, tags, strict=True):
            client.done(tag)
            (line,) = [each for each in client.ok("UID FETCH 1:* (FLAGS RFC822.SIZE)") if each.startswith(b"* ")]
            assert line.startswith(b"* 1 FETCH (UID 1 ")
        assert socket_at.stat().st_mode & 0o777 == 0o660
        log = (tmp_path / "log").read_text()
        assert re.search(rf"delivered user={user} mailbox=INBOX service=lmtp peer=127.0.0.1:\d+ sender=<sender@", log)
        assert re.search(rf"delivered user={user} mailbox=Lists service=lmtp peer=local ", log)
    finally:
        stop_server(running)
    assert not socket_at.exists()


@pytest.mark.slow
def test_a_server_that_ends_says_so(tmp_path: Path) -> None:
    running = start_server(tmp_path, "--lmtp-listen=127.0.0.1:0", "--workers=1")
    try:
        user, spool = running.user()
        address = ("127.0.0.1", running.ports["lmtp"])
        with Lmtp(address) as idle, Lmtp(address) as amid:
            amid.begin(user)
            assert amid.command(b"DATA").startswith("354 ")
            amid.send(b"Subject: half\r\n")
            running.process.send_signal(signal.SIGTERM)
            assert idle.answer().startswith("421 4.3.2 ")
            assert amid.answer().startswith("421 4.3.2 ")
    finally:
        stop_server(running)
    assert not [each for sub in ("cur", "new", "tmp") for each in (spool.root / sub).iterdir()]


@pytest.mark.slow
def test_workers_that_are_killed_lose_nothing(tmp_path: Path) -> None:
    """What was answered is there; what was not is sent again, as a mail server does, and is there too."""
    running = start_server(tmp_path, "--lmtp-listen=127.0.0.1:0")
    address = ("127.0.0.1", running.ports["lmtp"])
    try:
        (ann, _), (ben, _) = running.user(), running.user()
        told: set[tuple[str, int]] = set()
        sent: Counter[tuple[str, int]] = Counter()

        def bring(number: int) -> None:
            """Send until both have it."""
            left = [user for user in (ann, ben) if (user, number) not in told]
            while left:
                try:
                    with Lmtp(address) as client:
                        client.begin(*left)
                        client.command(b"DATA")
                        client.send(b"Subject: %d\r\n\r\nbody\r\n.\r\n" % number)
                        sent.update((user, number) for user in left)
                        told.update((user, number) for user in left if client.answer().startswith("250 "))
                except (OSError, AssertionError):
                    pass  # it was killed
                left = [user for user in left if (user, number) not in told]

        threads = [threading.Thread(target=lambda n=n: [bring(n * 100 + k) for k in range(30)]) for n in range(4)]
        for thread in threads:
            thread.start()
        kills = 0
        while any(thread.is_alive() for thread in threads):
            with open(f"/proc/{running.process.pid}/task/{running.process.pid}/children") as file:
                workers = file.read().split()
            if len(told) > kills * 40 and workers and kills < 4:
                os.kill(int(workers[kills % len(workers)]), signal.SIGKILL)
                kills += 1
            threads[0].join(0.02)
        assert kills > 2
        for user in (ann, ben):
            client = Client.to(running.port, user=user)
            client.ok("SELECT INBOX")
            lines = client.ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
            found = Counter(int(line.split()[1]) for line in lines if line.startswith(b"Subject: "))
            assert set(found) == {n * 100 + k for n in range(4) for k in range(30)}
            # Twice only what was sent twice.
            assert all(count <= sent[user, number] for number, count in found.items())
    finally:
        Client.close_all()
        stop_server(running)


@pytest.mark.slow
def test_system_users_are_kept_apart(tmp_path: Path) -> None:
    """Each file is its owner's, made by a thread that may do no more than he; and what is begun goes away as he."""
    if not owners.supported():
        pytest.skip("only root can act as others")
    lines = []
    for n, user in enumerate(("ann", "ben")):
        spool = Spool(tmp_path / user / "Maildir")
        give_to(tmp_path / user, 54321 + n)
        for path in (tmp_path / user).rglob("*"):
            path.chmod(0o700)
        (tmp_path / user).chmod(0o700)
        lines.append(f"{user}:{{PLAIN}}secret:{54321 + n}:{54321 + n}::{tmp_path / user}::\n")
        assert spool.root.exists()
    (tmp_path / "users").write_text("".join(lines))
    open_to_all(tmp_path)
    running = start_server(
        tmp_path, "--lmtp-listen=127.0.0.1:0", f"--passwd-file={tmp_path / 'users'}", system_users=True
    )
    try:
        with Lmtp(("127.0.0.1", running.ports["lmtp"])) as client:
            assert good(client.deliver(MESSAGE, "ann", "ben"))
            client.begin("ann", "ben")
            assert client.command(b"DATA").startswith("354 ")
            client.send(MESSAGE)
            client.sock.shutdown(socket.SHUT_WR)
            assert client.answer() == ""
        found = [files(tmp_path, user) for user in ("ann", "ben")]
        assert [len(each) for each in found] == [1, 1], found
        states = [each.stat() for (each,) in found]
        assert [(each.st_uid, each.st_gid, each.st_mode & 0o777) for each in states] == [
            (54321, 54321, 0o600),
            (54322, 54322, 0o600),
        ]
        assert states[0].st_ino != states[1].st_ino
    finally:
        stop_server(running)
