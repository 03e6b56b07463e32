from __future__ import annotations

from pathlib import Path

import pytest

from maildir_imapd.config import BY_NAME, SETTINGS, load
from maildir_imapd.errors import ConfigError
from maildir_imapd.location import expand
from maildir_imapd.values import Endpoint


def test_defaults_pass_their_own_checks() -> None:
    config = load(None, {})
    for setting in SETTINGS:
        if setting.default not in (None, ()):
            assert setting.check(setting.default) == getattr(config, setting.name)


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text('workers = 3\nimap = ["127.0.0.1:1", "[::1]:2", "*:3"]\nappend_limit = "2M"\nidle_timeout = "1h"\n')
    config = load(file, {"workers": "5", "imaps": ("localhost:993",)})
    assert config.workers == 5
    assert config.imap == (Endpoint("127.0.0.1", 1), Endpoint("::1", 2), Endpoint("::", 3))
    assert config.imaps == (Endpoint("localhost", 993),)
    assert config.append_limit == 2 << 20
    assert config.idle_timeout == 3600
    assert config.fsync == "delivery"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("workers = true", "workers must be a whole number"),
        ("workers = 1.5", "workers must be a whole number"),
        ("workers = 5000", "from 1 to 1024"),
        ("greeting = 5", "greeting must be a string"),
        ("imap = 143", "imap must be a string"),
        ('append_limit = "2T"', "append_limit must be a size"),
        ("append_limit = true", "append_limit must be a size"),
        ("idle_timeout = 60", "must be a time from 1800"),
        ('delimiter = "x"', "delimiter must be one of"),
        ("[imap]\nport = 1", "imap must be a string"),
        ("typo = 1", "unknown setting 'typo'"),
        ("idle-timeout = 1", "did you mean idle_timeout?"),
        ('mailboxes = ["Trash"]', "mailboxes must be NAME: WORD=VALUE"),
        ('mailboxes = ["Trash: "]', "mailboxes must be NAME: WORD=VALUE"),
        ('mailboxes = ["Trash: keep=1d"]', "mailboxes has 'keep', which is none of use, auto"),
        ('mailboxes = ["Trash: use=Bin"]', "mailboxes has use=Bin, which must be one of Drafts"),
        ('mailboxes = ["Trash: auto=yes"]', "mailboxes has auto=yes, which must be one of no, create, subscribe"),
        ('mailboxes = ["Trash: autoexpunge=soon"]', "mailboxes has autoexpunge=soon, which must be a time"),
        ('mailboxes = ["Trash: autoexpunge_count=-1"]', "which must be a whole number from 0"),
        ('mailboxes = ["Trash: auto=no, auto=create"]', "mailboxes says auto twice"),
        ('mailboxes = ["a//b: auto=create"]', "mailboxes names a mailbox with an empty level"),
        ('mailboxes = ["a/..: auto=create"]', "which no mailbox can be called"),
        ('mailboxes = ["a*: autoexpunge=1d"]', "which no mailbox can be called"),
        ('mailboxes = ["INBOX: auto=create"]', "mailboxes says use or auto of INBOX"),
        ('mailboxes = ["Inbox/Sent: auto=create"]', "mailboxes names a mailbox below INBOX"),
        ("mailboxes = [1]", "mailboxes must be a string"),
    ],
)
def test_what_is_wrong_is_named(line: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text(line + "\n")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(file) in caught.value.text
    assert expected in caught.value.text


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text(
        "# mine\nworkers = 5000\ntypo = 1\nimap = [\n  '127.0.0.1:143',\n  'nowhere',\n]\n\n  'delimiter' = 'x'\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(file, {"greeting": 5, "fsync": "delivery"})
    assert caught.value.text.split("\n") == [
        "--greeting must be a string",
        f"{file}:2: workers must be a whole number from 1 to 1024",
        f"{file}:3: unknown setting 'typo'",
        f"{file}:4: imap must be HOST:PORT, for example 127.0.0.1:143 or *:993",
        f"{file}:9: delimiter must be one of auto . / | ^",
    ]


def test_all_lines_that_are_none_are_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "conf"
    file.write_text('greeting = hello\nworkers = 5\nfsync delivery\nwatch = "poll"\nwatch = "poll"\n')
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    lines = caught.value.text.split("\n")
    assert [line.partition(": ")[0] for line in lines] == [f"{file}:1", f"{file}:3", f"{file}:5"]
    for text in ("a = [\n1,\n", '"""', "= 5\n"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=str(file)):
            load(file, {})
    file.write_bytes(b"greeting = '\xff'\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(file, {})


@pytest.mark.parametrize(
    ("template", "user", "home", "path"),
    [
        ("maildir:/m/%u", "a@b", None, b"/m/a@b"),
        ("maildir:/m/%d/%n", "a@b", None, b"/m/b/a"),
        ("maildir:/m/%n%%", "a", None, b"/m/a%"),
        ("maildir:~/Maildir", "a", "/home/a", b"/home/a/Maildir"),
        ("maildir:~", "a", "/home/a", b"/home/a"),
        ("maildir:%h/mail", "a", "/home/a", b"/home/a/mail"),
        ("maildir:/m/%u", "müller", None, "/m/müller".encode()),
    ],
)
def test_locations(template: str, user: str, home: str | None, path: bytes) -> None:
    assert BY_NAME["mail_location"].check(template) == template
    assert expand(template, user, home).root == path


def test_a_home_that_is_not_known() -> None:
    with pytest.raises(ConfigError, match="home"):
        expand("maildir:~/Maildir", "a", None)
