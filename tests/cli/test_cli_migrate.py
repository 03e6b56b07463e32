"""Moving in and out: adopt and release, and looking at mail that is not there makes none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from spool import Spool

from maildir_imapd.cli import main
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox


@pytest.mark.parametrize("words", [["adopt", "--dry-run"], ["adopt"], ["release", "--to", "dovecot"]])
def test_no_maildir_is_made_by_looking(words: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [*words, "--mail-location", f"maildir:{tmp_path}/none"])
    assert done.exit_code == 1
    assert "There is no Maildir" in done.output
    assert "Once Dovecot runs" not in done.output  # there is nothing to do then
    assert not list(tmp_path.iterdir())


@pytest.mark.long
@pytest.mark.parametrize("command", ["adopt", "release", "tunnel", "try"])
@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mbox", "mbox is an mbox file, and only Maildir is served: convert it"),
        ("mail", "mail has mbox files in it (Sent, inbox), and only Maildir is served: convert it"),
        ("plain", "plain is no directory, and a Maildir is one"),
        ("pictures", "pictures is a directory without cur/ in it"),
    ],
)
def test_something_else_where_the_maildir_should_be(command: str, place: str, said: str, tmp_path: Path) -> None:
    """It is said in words, with what to do, and never as Python or the system's tables spell it."""
    base = tmp_path / "m\xfcll"
    for name in ("mbox", "mail/inbox", "mail/Sent", "plain", "pictures/a.jpg"):
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(b"x" if name in ("plain", "pictures/a.jpg") else b"From a Sun Nov 29\nSubject: x\n\n")
    before = sorted(base.rglob("*"))
    where = f"maildir:{base / place}"
    words = {"release": ["release", "--to=dovecot"], "try": ["try", str(base / place)]}.get(command, [command])
    located = [] if command == "try" else ["--mail-location", where]
    done = subprocess.run(
        [sys.executable, "-m", "maildir_imapd", *words, *located],
        env={**os.environ, "HOME": str(tmp_path), "COLUMNS": "400"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    printed = " ".join((done.stdout + done.stderr).replace("\u2502", " ").split())
    assert done.returncode in (1, 78), printed
    assert said in printed or said.replace(" ", "") in printed.replace(" ", "")
    assert "b'" not in printed
    assert "Errno" not in printed
    assert sorted(base.rglob("*")) == before


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
    (cur / "7.link:2,S").symlink_to("/dev/zero")
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


def test_couriers_rights_are_taken_over(tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    theirs = {
        "INBOX": "owner aceilrstwx\nadministrators aceilrstwx\n",
        "a": "owner aceilrstwx\nanyone l\nuser=bob r\n",
        "b": "owner aceilrstwx\nuser=bob lr\nbob lr\n",
    }
    for name, text in theirs.items():
        (spool.path(name) / "courierimapacl").write_text(text)
    (spool.path("b") / "dovecot-acl").write_text("user=joe l\n")
    looked = adopt(spool, "--dry-run")
    assert looked.exit_code == 0
    assert not (spool.path("a") / "dovecot-acl").exists()
    done = adopt(spool)
    assert done.exit_code == 0, done.output
    for output in (looked.output, done.output):
        assert "access rights of anyone, user=bob" in output
    assert (spool.path("a") / "dovecot-acl").read_text() == "anyone l\nuser=bob lr\n"
    assert (spool.path("b") / "dovecot-acl").read_text() == "user=joe l\n"
    assert not (spool.path("INBOX") / "dovecot-acl").exists()
    assert (spool.path("a") / "courierimapacl").read_text() == theirs["a"]
    (spool.path("b") / "dovecot-acl").unlink()
    done = adopt(spool)
    assert done.exit_code == 1
    assert 'not understood: "bob lr"' in " ".join(done.output.split())
    assert (spool.path("b") / "dovecot-acl").read_text() == "user=bob lr\n"


def test_couriers_rights_that_cannot_be_read_and_folders_of_others_are_named(tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    os.mkfifo(spool.path("a") / "courierimapacl")
    (spool.root / "shared-maildirs").write_text("office\t/srv/shared/office Maildir\n# x\n\nnoplace\n")
    document = json.loads(adopt(spool, "--json").stdout)
    found = {each["kind"]: each for each in document["findings"]}
    assert found.keys() == {"rights", "shared-folders"}
    assert "courierimapacl: it is no regular file" in found["rights"]["words"]
    assert 'noplace (""), office ("/srv/shared/office Maildir")' in found["shared-folders"]["words"]
    assert found["shared-folders"]["count"] == 2
    (spool.root / "shared-maildirs").unlink()
    os.mkfifo(spool.root / "shared-maildirs")
    assert adopt(spool).exit_code == 1


def test_adopt_sees_how_the_folders_are_laid_out(tmp_path: Path) -> None:
    """~/Mail as mbsync and mutt keep it, with nothing said of its layout."""
    root = tmp_path / "Mail"
    for name in ("INBOX", "Sent", "Lists/Garden"):
        for sub in ("cur", "new", "tmp"):
            (root / name / sub).mkdir(parents=True)
    before = everything(root)
    words = ["adopt", "--mail-location", f"maildir:{root}", "--fsync", "never"]
    done = CliRunner().invoke(main, [*words, "--dry-run"])
    said = " ".join(done.output.replace("│", " ").split())
    assert done.exit_code == 0, done.output
    assert "LAYOUT=fs: its folders begin with no dot, INBOX among them" in said
    assert "Lists/Garden" in said
    assert everything(root) == before
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert (root / "maildir-imapd.layout").exists()


def test_a_name_is_no_markup(tmp_path: Path) -> None:
    spool = spool_of_three(tmp_path)
    names = ["[x]", "[bold]", ":smile:"]
    for name in names:
        spool.simple(name, 1)
    done = CliRunner().invoke(main, ["release", "--to", "dovecot", "-n", "--mail-location", f"maildir:{spool.root}"])
    assert done.exit_code == 0, done.output
    for name in names:
        assert name in done.output
