"""Moving in: another server's settings become ours, and looking at mail that is not there makes none."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from spool import Spool

from maildir_imapd.cli import main
from maildir_imapd.config import load
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox

DOVECOT_23 = """
# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
auth_mechanisms = plain login
disable_plaintext_auth = no
mail_location = maildir:/srv/mail/%d/%n/Maildir:LAYOUT=fs:INDEX=/var/i/%u:CONTROL=/var/ctl/%u:INBOX=~/in:UTF-8:ALT=/x
mail_uid = vmail
namespace inbox {
  inbox = yes
  location =
  mailbox Drafts {
    special_use = \\Drafts
  }
  prefix = INBOX.
  separator = .
}
passdb {
  args = scheme=CRYPT username_format=%u /etc/dovecot/users
  driver = passwd-file
}
ssl_cert = </etc/ssl/mail.pem
ssl_key = # hidden, use -P to show it
quota_full_tempfail = yes
plugin {
  acl = vfile:/etc/dovecot/acls
  quota = maildir
}
"""

# As 2.4.1 prints it.
DOVECOT_24 = """
# 2.4.1-4 (7d8c0e5759): /etc/dovecot/dovecot.conf
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
listen = 127.0.0.1 ::1
mail_control_path = /var/ctl/%{user}
mail_driver = maildir
mail_gid = vmail
mail_inbox_path = .
mail_index_path = MEMORY
mail_path = /srv/mail/%{user | domain}/%{user | username}/Maildir
mail_plugins {
  acl = yes
}
mail_uid = vmail
mailbox_list_utf8 = no
ssl_server {
  cert_file = /etc/ssl/mail.pem
  dh_file = /etc/dovecot/dh.pem
  key_file = /etc/ssl/mail.key
}
passdb passwd-file {
  passwd_file_path = /etc/dovecot/users
}
passdb pam {
}
passdb more {
  driver = sql
}
userdb static {
  fields {
    uid = vmail
  }
}
namespace inbox {
  inbox = yes
  mailbox_list_layout = fs
  prefix = INBOX.
  separator = .
}
protocol imap {
  mail_max_userip_connections = 30
}
"""

COURIER = """
##NAME: PORT:1
PORT=143
SSLPORT=127.0.0.1.993
MAXPERIP=20
MAILDIRPATH=Maildir
TLS_CERTFILE=/etc/courier/imapd.pem
IMAP_EMPTYTRASH=Trash:7
authmodulelist="authpam"
IMAP_CAPABILITY="IMAP4rev1 UIDPLUS"
IMAP_UMASK=022
LOCAL_FROBNICATION=yes
export LOCAL_TOO=1
MAXDAEMONS=many
TLS_TRUSTCERTS=/etc/ssl/certs
"""


def imported(text: str, tmp_path: Path) -> tuple[dict[str, object], str]:
    """What is printed, as settings and as text; it must be a configuration that loads."""
    source = tmp_path / "theirs"
    source.write_text(text)
    done = CliRunner().invoke(main, ["import-config", str(source)])
    assert done.exit_code == 0, done.output
    ours = tmp_path / "ours.conf"
    ours.write_text(done.output)
    load(ours, {})
    return tomllib.loads(done.output), done.output


def test_dovecot_2_3(tmp_path: Path) -> None:
    settings, text = imported(DOVECOT_23, tmp_path)
    assert settings == {
        "plaintext_login": "loopback",
        "mail_location": "maildir:/srv/mail/%d/%n/Maildir:LAYOUT=fs:INBOX=~/in:CONTROL=/var/ctl/%u:INDEX=/var/i/%u"
        ":UTF-8",
        "mail_user": "vmail",
        "prefix": "INBOX.",
        "delimiter": ".",
        "passwd_file": "/etc/dovecot/users",
        "tls_cert": "/etc/ssl/mail.pem",
        "imap": ["*:143"],
        "imaps": ["*:993"],
    }
    for missing in ("ALT=/x: ", "ssl_key: ", "quota_full_tempfail: ", "plugin/acl: ", "disable_plaintext_auth: "):
        assert missing in text


def test_dovecot_2_4(tmp_path: Path) -> None:
    settings, text = imported(DOVECOT_24, tmp_path)
    assert settings == {
        "mail_location": "maildir:/srv/mail/%d/%n/Maildir:LAYOUT=fs:CONTROL=/var/ctl/%u",
        "mail_user": "vmail",
        "prefix": "INBOX.",
        "delimiter": ".",
        "passwd_file": "/etc/dovecot/users",
        "tls_cert": "/etc/ssl/mail.pem",
        "tls_key": "/etc/ssl/mail.key",
        "connections_per_user": 30,
        "imap": ["*:143"],
        "imaps": ["*:993"],
    }
    for missing in ("passdb pam/driver: ", "passdb more/driver: ", "userdb static/driver: ", "listen: "):
        assert missing in text
    assert "ssl_server" not in text
    assert "mailbox_list_layout" not in text


def test_dovecot_2_4_that_does_not_show_the_layout(tmp_path: Path) -> None:
    """It leaves fs out, which is the setting's default and not that of a Maildir: the spool shows it."""
    settings, text = imported("mail_driver = maildir\nmail_path = ~/Maildir\n", tmp_path)
    assert settings["mail_location"] == "maildir:~/Maildir"
    assert "mailbox_list_layout" not in text


def test_dovecot_2_4_with_another_format(tmp_path: Path) -> None:
    settings, text = imported("mail_driver = mbox\nmail_path = ~/mail\nmail_inbox_path = /var/mail/%{user}\n", tmp_path)
    assert "mail_location" not in settings
    assert "this is mbox" in text


def test_courier(tmp_path: Path) -> None:
    settings, text = imported(COURIER, tmp_path)
    assert settings["imap"] == ["*:143"]
    assert settings["imaps"] == ["*:993"]
    assert settings["prefix"] == "INBOX."
    assert settings["connections_per_address"] == 20
    assert "IMAP_EMPTYTRASH: " in text
    assert "LOCAL_FROBNICATION: unknown to us" in text
    assert "LOCAL_TOO: unknown to us" in text
    assert "IMAP_UMASK: " in text
    assert "TLS_TRUSTCERTS: " in text
    assert "IMAP_CAPABILITY" not in text, "it says nothing to us"


def test_courier_numbers_that_are_none(tmp_path: Path) -> None:
    settings, text = imported("MAILDIRPATH=Maildir\nMAXPERIP=lots\nPORT=imap2\n", tmp_path)
    assert set(settings) == {"mail_location", "prefix", "imap", "imaps"}
    assert "MAXPERIP: lots is no number" in text
    assert "PORT: imap2 is no port" in text


@pytest.mark.parametrize("text", ["root:x:0:0::/root:/bin/sh\n", "}\n"])
def test_neither(text: str, tmp_path: Path) -> None:
    source = tmp_path / "other"
    source.write_text(text)
    done = CliRunner().invoke(main, ["import-config", str(source)])
    assert done.exit_code == 78
    assert done.output.startswith("maildir-imapd: ")


@pytest.mark.parametrize("words", [["adopt", "--dry-run"], ["adopt"], ["release", "--to", "dovecot"]])
def test_no_maildir_is_made_by_looking(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [*words, "--mail-location", f"maildir:{tmp_path}/none"])
    assert done.exit_code == 1
    assert "There is no Maildir" in done.output
    assert not list(tmp_path.iterdir())


def spool_of_three(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "Maildir")
    for name, uidvalidity in (("INBOX", 5), ("a", 6), ("b", 7)):
        (base,) = spool.simple(name, 1)
        (spool.path(name) / "dovecot-uidlist").write_text(f"3 V{uidvalidity} N10 Gaa\n9 :{base}\n")
    (spool.root / "subscriptions").write_text("V\t2\n\na\n")
    return spool


def adopt(spool: Spool, *words: str) -> Result:
    return CliRunner().invoke(main, ["adopt", *words, "--mail-location", f"maildir:{spool.root}", "--fsync", "never"])


def test_adopt_says_what_it_finds(tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    done = adopt(spool, "--dry-run")
    assert done.exit_code == 0
    assert "UIDVALIDITY 6, next 10" in done.output
    assert "1 subscription" in done.output
    assert "3 folders; no UID would change." in done.output
    assert not list(spool.root.rglob("maildir-imapd*"))


def test_adopt_knows_when_a_list_of_uids_is_missing(tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    (spool.path("a") / "dovecot-uidlist").rename(tmp_path / "elsewhere")
    (spool.path("a") / "dovecot.index.log").touch()
    done = adopt(spool, "--dry-run")
    assert done.exit_code == 1
    assert "does mail_location" in done.output
    assert "1 of 3 folders need a look" in done.output


@pytest.mark.parametrize("words", [["--dry-run"], []])
def test_adopt_refuses_what_it_cannot_read(words: list[str], tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    listed = spool.path("a") / "dovecot-uidlist"
    listed.rename(tmp_path / "elsewhere")
    listed.symlink_to(tmp_path / "elsewhere")
    done = adopt(spool, *words)
    assert done.exit_code == 1
    assert "dovecot-uidlist" in done.output
    assert "cannot be read" in done.output
    assert "1 of 3 folders need a look" in done.output
    assert not (spool.path("a") / "maildir-imapd.index").exists()
    assert listed.is_symlink()


def test_adopt_is_interrupted_and_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = spool_of_three(tmp_path)
    opened = Account.mailbox

    def mailbox(account: Account, name: str) -> Mailbox:
        if name == "b":
            raise KeyboardInterrupt
        return opened(account, name)

    with monkeypatch.context() as patched:
        patched.setattr(Account, "mailbox", mailbox)
        done = adopt(spool)
    assert done.exit_code == 130
    assert "Interrupted" in done.output
    assert (spool.path("a") / "maildir-imapd.index").exists() or (spool.path("a") / "maildir-imapd.journal").exists()
    done = adopt(spool)
    assert done.exit_code == 0
    assert done.output.count("adopted before") == 2
    assert "3 folders; no UID changed." in done.output
    account = Account(os.fsencode(spool.root), fsync="never")
    for name, uidvalidity in (("INBOX", 5), ("a", 6), ("b", 7)):
        rows = account.mailbox(name).sync()
        assert (rows.uidvalidity, list(rows.uids)) == (uidvalidity, [9])


def everything(root: Path) -> set[tuple[str, int]]:
    """Every name below a spool and the inode behind it, but for what is ours."""
    return {
        (os.path.join(directory, name), os.lstat(os.path.join(directory, name)).st_ino)
        for directory, folders, files in os.walk(root)
        for name in (*folders, *files)
        if not name.startswith(("maildir-imapd", "dovecot", "subscriptions"))
    }


def test_odd_names_are_taken_over_or_left_alone(tmp_path: Path) -> None:
    """Names with a colon, CR or LF, and what is no message at all."""
    spool = spool_of_three(tmp_path)
    cur = spool.root / "cur"
    text = b"Subject: odd\n\nx\n"
    for name in ("1.M1P1.host:x:2,S", ":2,F", ":", "2.cr\r:2,S", "3.lf\n:2,S", ".hidden", "4.plain"):
        (cur / name).write_bytes(text)
    os.mkfifo(cur / "5.fifo:2,S")
    (cur / "6.directory:2,S").mkdir()
    (cur / "7.link:2,S").symlink_to("/etc/passwd")
    for folder in ("with:colon", "with\rcr", "with\nlf"):
        spool.simple(folder, 1)
    (spool.path("with:colon") / "dovecot-uidlist").write_text("3 V8 N3 Gbb\n")
    left = {str(cur / name) for name in ("2.cr\r:2,S", "3.lf\n:2,S", ".hidden", "5.fifo:2,S", "6.directory:2,S")}
    left |= {str(cur / "7.link:2,S"), str(spool.path("with\rcr")), str(spool.path("with\nlf"))}
    before = everything(spool.root)
    done = adopt(spool)
    # Nothing vanishes in silence: what no client is shown is named, and somebody should look.
    assert done.exit_code == 1, done.output
    assert "with:colon" in done.output
    assert '".with\\x0dcr"' in done.output
    assert '".with\\x0alf"' in done.output
    said = " ".join(done.output.replace("│", " ").split())
    assert "5 files are no messages: " in said
    assert "a link" in said
    assert "\r" not in done.output.replace("\r\n", "\n")
    after = everything(spool.root)
    assert {(name, inode) for name, inode in after if name in left} == {
        (name, inode) for name, inode in before if name in left
    }
    assert {inode for _, inode in after} == {inode for _, inode in before}, "nothing is removed, whatever it is called"
    account = Account(os.fsencode(spool.root), fsync="never")
    assert {row.name for row in account.folders()} == {"INBOX", "a", "b", "with:colon"}
    inbox = account.mailbox("INBOX")
    for _ in range(3):
        inbox.sync(look=True)
    rows = inbox.snapshot
    assert rows.uidvalidity == 5
    assert rows.uids[0] == 9
    assert len(rows) == 1 + 4, "the four that are messages"
    assert len(set(rows.names)) == len(rows)
    assert all(inbox.read(uid) for uid in rows.uids)
    assert account.mailbox("with:colon").uidvalidity == 8


@pytest.mark.parametrize("kind", ["dovecot", "courier"])
def test_release_changes_nothing_when_it_only_looks(tmp_path: Path, kind: str) -> None:
    """A spool that we have not seen, too."""
    spool = spool_of_three(tmp_path)
    for again in (False, True):
        before = {path: path.stat().st_mtime_ns for path in spool.root.rglob("*")}
        words = ["release", "--to", kind, "--dry-run", "--mail-location", f"maildir:{spool.root}"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert ("not adopted yet" in done.output) is not again
        assert {path: path.stat().st_mtime_ns for path in spool.root.rglob("*")} == before
        assert adopt(spool).exit_code == 0


def test_lists_of_rights_survive_adopt_and_release(tmp_path: Path) -> None:
    """What we do not understand of them, too."""
    spool = spool_of_three(tmp_path)
    rights = b"user=bob lrs\n# a remark\ngroup=x :read lookup\n"
    for name in ("INBOX", "a"):
        (spool.path(name) / "dovecot-acl").write_bytes(rights)
    assert adopt(spool).exit_code == 0
    done = CliRunner().invoke(main, ["release", "--to", "dovecot", "--mail-location", f"maildir:{spool.root}"])
    assert done.exit_code == 0, done.output
    for name in ("INBOX", "a"):
        assert (spool.path(name) / "dovecot-acl").read_bytes() == rights
