"""A spool goes from the real Dovecot to us and back: no client may notice."""

from __future__ import annotations

import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from dovecot import Dovecot, is_24
from memory import MemoryClient, MemoryWires
from migration import State, look, subscribed

from maildir_imapd.cli import main
from maildir_imapd.location import AUTO, expand
from maildir_imapd.store.account import Account

pytestmark = pytest.mark.interop

# Options of Dovecot's mail_location, and the separator of its namespace.
SPOOLS = {
    "maildir++": ("", "."),
    "apart": (":INBOX={home}/inbox:CONTROL={home}/control:INDEX={home}/index", "."),
    "fs": (":LAYOUT=fs", "/"),
    "fs-apart": (":LAYOUT=fs:INBOX={home}/inbox:CONTROL={home}/control:INDEX={home}/index", "/"),
    "fs-inside": (":LAYOUT=fs:INBOX={home}/Maildir/INBOX:CONTROL={home}/control", "."),
}
KEYWORDS = [f"kw{n}" for n in range(40)]


def folders(dovecot: Dovecot) -> tuple[str, ...]:
    names = ("INBOX", "Sent", "a.b.c", "&AOk-t&AOk-", "&AOk-t&AOk-.x&-y", '"with space"', "INBOX.child", "trailing-")
    return tuple(name.replace(".", dovecot.separator) for name in names)


@pytest.fixture(params=SPOOLS)
def dovecot(tmp_path: Path, request: pytest.FixtureRequest) -> Dovecot:
    """A Dovecot whose user has mail in several folders."""
    options, separator = SPOOLS[request.param]
    made = Dovecot(tmp_path, options=options, separator=separator)
    names = folders(made)
    commands = [f"CREATE {name}" for name in names[1:]] + [f"SUBSCRIBE {names[n]}" for n in (2, 0, 4)]
    for n, name in enumerate(names):
        for k in range(4):
            flags = ["", "\\Seen", "\\Seen \\Flagged", f"\\Answered {KEYWORDS[(n * 4 + k) % 25]} $Label{k}"][k]
            text = f"Subject: message {n}.{k}\r\n\r\nbody\r\n"
            commands.append(f'APPEND {name} ({flags}) "0{k + 1}-Nov-2026 10:00:00 +0000" {{{len(text)}+}}\r\n{text}')
    for name in names:
        # A gap in the UIDs, and a UIDNEXT above the last message.
        commands += [f"SELECT {name}", "STORE 2,4 +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "UNSELECT"]
    made.talk(*commands)
    return made


def ours(dovecot: Dovecot) -> MemoryClient:
    """A client of ours on Dovecot's spool, which finds everything where Dovecot's setting says."""
    places = expand(dovecot.location, "witness", str(dovecot.home))
    account = Account(places, fsync="never", delimiter=dovecot.separator)
    return MemoryWires(account).connect(login=True)


def from_dovecot(dovecot: Dovecot, names: tuple[str, ...]) -> State:
    return look(dovecot.talk, names)


def from_us(client: MemoryClient, names: tuple[str, ...]) -> State:
    def talk(*commands: str) -> list[str]:
        return [line.decode() for command in commands for line in client.command(f"a {command}".encode())]

    return look(talk, names)


def listed(lines: list[str]) -> dict[str, bool]:
    """The names of an answer to LIST, and whether each can be selected."""
    found = {}
    for line in lines:
        if line.startswith("* LIST "):
            attributes, _, rest = line.removeprefix("* LIST ").partition(") ")
            found[rest.split(" ", 1)[1].strip('"')] = "\\noselect" not in attributes.lower()
    return found


def test_there_and_back(dovecot: Dovecot) -> None:
    names = folders(dovecot)
    abc, sep = names[2], dovecot.separator
    before = from_dovecot(dovecot, names)
    assert all(len(messages) == 2 for _, _, messages in before.values())
    client = ours(dovecot)
    assert from_us(client, names) == before
    lines = [line.decode() for line in client.command(b'c LSUB "" *')]
    assert subscribed(lines) == subscribed(dovecot.talk('LSUB "" *'))
    lines = [line.decode() for line in client.command(b'c LIST "" *')]
    assert listed(lines) == listed(dovecot.talk('LIST "" *'))

    # Changes of every kind are made through us, with the mirror that an adopted spool has by itself.
    made = sep.join(("made", "here"))
    for command in (
        "SELECT INBOX",
        "STORE 1 +FLAGS.SILENT (\\Flagged kw3 fresh)",
        f"APPEND INBOX (\\Draft) {{{10}+}}\r\nA: b\r\n\r\nc\r",
        "COPY 2 Sent",
        "STORE 2 +FLAGS.SILENT (\\Deleted)",
        "EXPUNGE",
        f"CREATE {made}",
        f"APPEND {made} (kw1) {{{9}+}}\r\nA: b\r\n\r\nc",
        f"SUBSCRIBE {made}",
        f"UNSUBSCRIBE {abc}",
        f"RENAME {names[3]} moved",
        "DELETE trailing-",
        f"CREATE gone{sep}child",
        "DELETE gone",
    ):
        assert b" OK " in client.command(f"d {command}".encode())[-1], command
    kept = {name for name in names if not name.startswith((names[3], "trailing-"))}
    names = (*kept, made, "moved", sep.join(("moved", "x&-y")), sep.join(("gone", "child")))
    now = from_us(client, names)
    lines = [line.decode() for line in client.command(b'n LSUB "" *')]
    tree = [line.decode() for line in client.command(b'n LIST "" *')]
    client.command(b"o LOGOUT")

    theirs = from_dovecot(dovecot, names)
    assert theirs == now
    assert subscribed(dovecot.talk('LSUB "" *')) == subscribed(lines)
    assert listed(dovecot.talk('LIST "" *')) == listed(tree)
    assert "Error" not in dovecot.log()

    # And once more: what Dovecot did in the meantime is ours again, under its UIDs.
    dovecot.talk("SELECT INBOX", "COPY 1 Sent", "STORE 1 +FLAGS (\\Answered)", "APPEND INBOX {6+}\r\nA: b\r\n")
    again = from_dovecot(dovecot, names)
    assert from_us(ours(dovecot), names) == again


def test_settings(dovecot: Dovecot, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.write_text(dovecot.doveconf())
    done = CliRunner().invoke(main, ["import-config", str(shown)], catch_exceptions=False)
    settings = tomllib.loads(done.output)
    location = dovecot.location
    # 2.4 shows Maildir++ and does not show this: then the spool decides.
    hidden = is_24() and ":LAYOUT=fs" in location
    wanted = expand(location.replace(":LAYOUT=fs", "") if hidden else location, "", "")
    if wanted.kind == AUTO and not hidden:
        wanted = replace(wanted, kind="maildir++")
    assert expand(settings["mail_location"], "", "") == wanted
    assert settings["delimiter"] == dovecot.separator


def test_many_keywords(dovecot: Dovecot) -> None:
    """Dovecot gives letters to 26 of them, and keeps the others in its index: those come over, too."""
    dovecot.talk("SELECT Sent", f"STORE 1 +FLAGS ({' '.join(KEYWORDS)})", "STORE 2 FLAGS (kw31 kw38)")
    dovecot.talk("SELECT Sent", "STORE 1 -FLAGS (kw35)", "STORE 2 -FLAGS (kw38)", "STORE 2 +FLAGS (one.more)")
    before = from_dovecot(dovecot, ("Sent",))
    assert str(before).count("kw") == 41 - 1
    client = ours(dovecot)
    assert from_us(client, ("Sent",)) == before
    # And back: what has no letter is given to Dovecot by its own tool.
    client.command(b"a SELECT Sent")
    assert client.command(b"b STORE 2 +FLAGS (kw36)")[-1].startswith(b"b OK")
    client.command(b"c LOGOUT")
    now = from_us(ours(dovecot), ("Sent",))
    said = run(dovecot, "release", "--to", "dovecot")
    for file in dovecot.home.rglob("dovecot.index*"):
        file.unlink()
    commands = [shlex.split(line) for line in said.splitlines() if line.startswith("doveadm ")]
    dovecot.own()
    for words in commands:
        dovecot.doveadm(*words[1:])
    assert sum(words[1] == "flags" for words in commands) >= 15
    assert from_dovecot(dovecot, ("Sent",)) == now


def test_keywords_from_an_index_of_many_messages(tmp_path: Path) -> None:
    """Once it is larger Dovecot writes a file for the state and begins its log anew, more than once."""
    dovecot = Dovecot(tmp_path, "mail_index_log_rotate_min_size = 8k\nmail_index_log_rotate_max_size = 9k\n")
    text = "Subject: x\r\n\r\nbody\r\n"
    dovecot.talk(*[f"APPEND INBOX () {{{len(text)}+}}\r\n{text}"] * 200)
    dovecot.talk("SELECT INBOX", f"STORE 1 +FLAGS ({' '.join(KEYWORDS)})", "STORE 5:100 +FLAGS (kw33)")
    for part in range(4):
        dovecot.talk("SELECT INBOX", *[f"STORE {n} +FLAGS (kw{n % 40} kw39)" for n in range(4 + part, 200, 7)])
        dovecot.talk("SELECT INBOX", *[f"STORE {n} -FLAGS (kw{33 + part})" for n in range(5, 100, 5 + part)])
    dovecot.talk("SELECT INBOX", "STORE 7 +FLAGS (the.last)", "STORE 50 FLAGS ()")
    box = tmp_path / "Maildir"
    assert (box / "dovecot.index").exists()
    assert (box / "dovecot.index.log.2").exists()
    before = from_dovecot(dovecot, ("INBOX",))
    assert from_us(ours(dovecot), ("INBOX",)) == before


def test_what_is_recent(dovecot: Dovecot) -> None:
    """Nobody has seen the last two, and the first two but one somebody has."""
    text = "Subject: x\r\n\r\nbody\r\n"
    append = f"APPEND Sent (\\Flagged) {{{len(text)}+}}\r\n{text}"
    dovecot.talk("SELECT Sent", "UNSELECT", append, append)
    # To look changes nothing.
    assert "* 2 RECENT" in dovecot.talk("EXAMINE Sent")
    client = ours(dovecot)
    assert b"* 2 RECENT" in client.command(b"a SELECT Sent")
    lines = [line for line in client.command(b"b FETCH 1:* FLAGS") if line.startswith(b"*")]
    assert [b"\\Recent" in line for line in lines] == [False, False, True, True]


def run(dovecot: Dovecot, *words: str) -> str:
    # For root they act as the owner of the mail: what other tests have made as root must be his.
    dovecot.own()
    given = ["--mail-location", dovecot.location, "--delimiter", dovecot.separator]
    done = CliRunner().invoke(main, [*words, *given], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_adopt_and_release(dovecot: Dovecot) -> None:
    names = folders(dovecot)
    before = from_dovecot(dovecot, names)
    files = sorted(dovecot.home.rglob("*"))
    looked = run(dovecot, "adopt", "--dry-run")
    assert "no UID would change" in looked
    assert looked.count("dovecot") == len(names)
    assert sorted(dovecot.home.rglob("*")) == files
    assert "no UID changed" in run(dovecot, "adopt")
    assert "adopted before" in run(dovecot, "adopt")
    assert from_us(ours(dovecot), names) == before
    # Without the mirror: release alone must do.
    for file in dovecot.home.rglob("dovecot-uidlist"):
        file.unlink()
    for file in dovecot.home.rglob("dovecot.index*"):
        file.unlink()
    assert "would be written" in run(dovecot, "release", "--to", "dovecot", "--dry-run")
    assert not list(dovecot.home.rglob("dovecot-uidlist"))
    said = run(dovecot, "release", "--to", "dovecot")
    assert "doveadm mailbox update" in said
    assert "--min-highest-modseq" in said
    assert from_dovecot(dovecot, names) == before
