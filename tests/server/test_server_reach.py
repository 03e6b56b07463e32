"""Mail of others over real sockets: two workers, the list of shares, system users."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import Client
from running import Running, give_to, open_to_all, start_server, stop_server

from maildir_imapd.server import owners
from maildir_imapd.server.reach import UserLevel

NAMESPACES = (
    "--namespaces=shared/%u/: type=others",
    "--namespaces=Deleted/: type=deleted, list=yes",
    "--delimiter=/",
    "--keep-expunged=1d",
)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    public = tmp_path / "public" / ".News"
    for name in ("cur", "new", "tmp"):
        (public / name).mkdir(parents=True)
    running = start_server(
        tmp_path,
        *NAMESPACES,
        f"--namespaces=Public/: type=public, location=maildir:{tmp_path}/public, rights=lrs",
        f"--acl-shared-list={tmp_path}/shares",
        users=6,
    )
    yield running
    stop_server(running)


def client(running: Running, user: str) -> Client:
    return Client.to(running.port, user=user)


def listed(talker: Client, pattern: str = "*") -> list[str]:
    lines = talker.command(f'LIST "" {pattern}')
    return [line.rpartition(b' "/" ')[2].decode() for line in lines if line.startswith(b"* LIST")]


@pytest.mark.slow
def test_shares_come_and_go(running: Running) -> None:
    """Whichever worker the two are at: several sessions of each."""
    readers = [client(running, "u1") for _ in range(4)]
    owner = client(running, "u0")
    for reader in readers:
        assert not [name for name in listed(reader) if name.startswith("shared/")]
    assert owner.said("CREATE Work").startswith("OK")
    assert owner.said("SETACL Work u1 lrs").startswith("OK")
    assert (running.base / "shares").read_text() == "shared/shared-boxes/user/u1/u0\n1\n"
    for reader in readers:
        assert "shared/u0/Work" in listed(reader)
        assert reader.said("SELECT shared/u0/Work").startswith("OK")
    assert owner.append("Work", b"Subject: x\r\n\r\nnews\r\n").startswith("OK")
    for reader in readers:
        assert b"* 1 EXISTS" in reader.command("NOOP")
    assert owner.said("DELETEACL Work u1").startswith("OK")
    for reader in readers:
        assert not [name for name in listed(reader) if name.startswith("shared/")]
    assert not (running.base / "shares").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["no", "yes"])
def test_an_owner_says_whose_seen_it_is(tmp_path: Path, rule: str) -> None:
    """The field private_seen of an owner goes before that of the namespace."""
    running = start_server(
        tmp_path,
        f"--namespaces=shared/%u/: type=others, private_seen={rule}",
        "--delimiter=/",
        f"--acl-shared-list={tmp_path}/shares",
        users=4,
    )
    try:
        passwd = tmp_path / "passwd"
        lines = passwd.read_text()
        for name, said in (("u0", "yes"), ("u1", "no")):
            lines = re.sub(f"^{name}:.*:$", rf"\g<0>userdb_private_seen={said}", lines, flags=re.MULTILINE)
        passwd.write_text(lines)
        for name, private in (("u0", True), ("u1", False), ("u2", rule == "yes")):
            owner, reader = client(running, name), client(running, "u3")
            assert owner.said("CREATE Work").startswith("OK")
            assert owner.said("SETACL Work u3 lrs").startswith("OK")
            assert owner.append("Work", b"Subject: x\r\n\r\nnews\r\n").startswith("OK")
            assert reader.said(f"SELECT shared/{name}/Work").startswith("OK")
            assert reader.said("STORE 1 +FLAGS (\\Seen)").startswith("OK")
            unseen = b"1" if private else b"0"
            assert b"* STATUS Work (UNSEEN %s)" % unseen in owner.command("STATUS Work (UNSEEN)")
            box = f"shared/{name}/Work"
            assert f"* STATUS {box} (UNSEEN 0)".encode() in reader.command(f"STATUS {box} (UNSEEN)")
    finally:
        stop_server(running)


@pytest.mark.slow
def test_whoever_has_asked_hears_of_a_new_share(running: Running) -> None:
    readers = [client(running, "u1") for _ in range(3)]
    for reader in readers:
        line = reader.said("NOTIFY SET (subtree shared (MailboxName MessageNew MessageExpunge))")
        assert line.startswith("OK"), line
    owner = client(running, "u2")
    owner.command("CREATE Sub")
    owner.command("SETACL Sub u1 lr")
    for reader in readers:
        reader.until(r"\* LIST .* shared/u2/Sub$")
    owner.append("Sub", b"Subject: x\r\n\r\nnews\r\n")
    for reader in readers:
        reader.until(r"\* STATUS shared/u2/Sub \(MESSAGES 1 ")


@pytest.mark.slow
def test_public_and_deleted(running: Running) -> None:
    reader = client(running, "u3")
    assert [name for name in listed(reader) if "/" in name] == ["Public/News"]
    assert "Deleted" in listed(reader)
    assert reader.said("SELECT Public/News").startswith("OK")
    assert reader.append("Public/News", b"x\r\n").startswith("NO [NOPERM]")
    assert reader.append("INBOX", b"Subject: x\r\n\r\nto go\r\n").startswith("OK")
    reader.command("SELECT INBOX")
    reader.command("STORE 1 +FLAGS \\Deleted")
    reader.command("EXPUNGE")
    assert reader.said("SELECT Deleted/INBOX").startswith("OK [READ-ONLY]")
    assert reader.said("STORE 1 +FLAGS \\Seen").startswith("NO")
    assert reader.said("EXPUNGE").startswith("NO")
    assert reader.said("COPY 1 INBOX").startswith("OK [COPYUID")
    assert reader.append("Deleted/INBOX", b"x\r\n").startswith("NO")
    assert reader.said("CREATE Deleted/More").startswith("NO")
    assert reader.said("DELETE Deleted/INBOX").startswith("NO")
    assert reader.said("SETACL Deleted/INBOX u1 lr").startswith("NO")
    assert b"* STATUS INBOX (MESSAGES 1)" in reader.command("STATUS INBOX (MESSAGES)")


@pytest.mark.slow
@pytest.mark.skipif(not owners.supported(), reason="only root can act as others")
def test_users_of_the_system(tmp_path: Path) -> None:
    """The kernel decides beside the lists: what a group may read is read, and copied as the reader's own."""
    uids = {"u0": 54400, "u1": 54401}
    running = start_server(tmp_path, *NAMESPACES, f"--acl-shared-list={tmp_path}/shares", users=0, system_users=True)
    try:
        open_to_all(tmp_path)
        lines = [f"{user}:{{PLAIN}}secret:{uid}:54499::::\n" for user, uid in uids.items()]
        (tmp_path / "passwd").write_text("".join(lines))
        for user, uid in uids.items():
            home = tmp_path / user
            (home / "Maildir").mkdir(parents=True)
            give_to(home, uid)
            home.chmod(0o755)
        owner, reader = client(running, "u0"), client(running, "u1")
        for name in ("Open", "Closed"):
            owner.command(f"CREATE {name}")
            assert owner.append(name, b"Subject: x\r\n\r\nof u0\r\n").startswith("OK")
            assert owner.said(f"SETACL {name} u1 lr").startswith("OK")
        assert listed(reader, "shared/*") == []
        root = tmp_path / "u0" / "Maildir"
        for path in (root, root / ".Open", *(root / ".Open").rglob("*")):
            os.chown(path, 54400, 54499)
            path.chmod(0o2770 if path.is_dir() else 0o660)
        reader = client(running, "u1")
        assert "shared/u0/Open" in listed(reader, "shared/*")
        assert reader.said("SELECT shared/u0/Open").startswith("OK")
        assert any(b"of u0" in line for line in reader.command("FETCH 1 BODY[]"))
        assert reader.said("COPY 1 INBOX").startswith("OK")
        (copy,) = (tmp_path / "u1" / "Maildir" / "cur").iterdir()
        assert copy.stat().st_uid == 54401
        assert copy.stat().st_nlink == 1
        assert reader.said("SELECT shared/u0/Closed").startswith("NO")
        assert reader.said("SELECT INBOX").startswith("OK")
    finally:
        stop_server(running)


@pytest.mark.parametrize(
    ("template", "reader", "user", "level"),
    [
        ("%u", "ann@a.org", "bob@b.org", "bob@b.org"),
        ("%n", "ann@a.org", "bob@a.org", "bob"),
        ("%n", "ann", "bob", "bob"),
        ("%n@%d", "ann@a.org", "bob@b.org", "bob@b.org"),
    ],
)
def test_how_users_are_named(template: str, reader: str, user: str, level: str) -> None:
    found = UserLevel(template, reader)
    assert (found.spelled(user), found.read(level)) == (level, user)


def test_users_of_another_domain_have_no_short_name() -> None:
    assert UserLevel("%n", "ann@a.org").spelled("bob@b.org") is None
    assert UserLevel("%u", "ann").read("../ann") is None


@pytest.mark.slow
def test_a_tunnel_has_namespaces_too(tmp_path: Path) -> None:
    for name in ("cur", "new", "tmp"):
        (tmp_path / "public" / ".News" / name).mkdir(parents=True)
    said = subprocess.run(
        [
            *(sys.executable, "-m", "maildir_imapd", "tunnel"),
            *(f"--mail-location=maildir:{tmp_path}/%u", "--namespaces=shared/%u/: type=others", "--delimiter=/"),
            f"--namespaces=Public/: type=public, location=maildir:{tmp_path}/public, rights=lrs",
        ],
        input=b'a LIST "" *\r\nb SELECT Public/News\r\nc SELECT shared/nobody/News\r\nd LOGOUT\r\n',
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b'"/" Public/News\r\n' in said.stdout
    assert b"b OK [READ-WRITE]" in said.stdout
    assert b"c NO [NONEXISTENT]" in said.stdout
