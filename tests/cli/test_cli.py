"""The command line: help, one clear line for what goes wrong, the right exit status."""

from __future__ import annotations

import importlib
import os
import pwd
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from running import open_to_all
from spool import Spool

from maildir_imapd import __version__
from maildir_imapd.auth import schemes
from maildir_imapd.cli import main
from maildir_imapd.cli.group import each_command
from maildir_imapd.cli.options import machines_file
from maildir_imapd.config import SETTINGS
from maildir_imapd.errors import ConfigError


def commands(group: click.Group = main, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [prefix]
    for name, command in each_command(group):
        if isinstance(command, click.Group):
            found += commands(command, (*prefix, name))
        else:
            found.append((*prefix, name))
    return found


def run(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(main, list(words), input=said, prog_name="maildir-imapd")


def fails(*words: str, status: int, said: str = "") -> str:
    """Run a command that must fail with one line, and return the line."""
    result = run(*words, said=said)
    assert result.exit_code == status, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert not result.stdout
    return lines[0]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help(words: tuple[str, ...]) -> None:
    """Each command says what it does in a sentence, and every option has its help."""
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert result.output.startswith("Usage: maildir-imapd")
    assert run(*words, "-h").output == result.output
    command: click.Command = main
    for word in words:
        assert isinstance(command, click.Group)
        command = dict(each_command(command))[word]
    assert command.help
    assert command.help.split("\n")[0].endswith(".")
    for param in command.params:
        if isinstance(param, click.Option):
            assert param.help, param.name
            assert param.help.endswith("."), param.name


def test_version() -> None:
    assert run("--version").output.strip() == f"maildir-imapd, version {__version__}"


def test_serve_has_every_setting() -> None:
    out = run("serve", "--help").output
    for setting in SETTINGS:
        assert setting.flag in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--imap=127.0.0.1:0"], "no users: give --passwd-file"),
        (["--passwd-file={users}"], "nothing to listen on"),
        (["--passwd-file={users}", "--imaps=127.0.0.1:0"], "imaps needs a certificate"),
        (["--passwd-file={users}", "--imap=127.0.0.1"], "--imap must be HOST:PORT"),
        (["--passwd-file={users}", "--imap=127.0.0.1:²"], "--imap must be HOST:PORT"),
        (["--passwd-file={users}", "--imap=192.0.2.1:1143"], "cannot listen on 192.0.2.1:1143: Cannot assign"),
        (["--passwd-file={users}", "--imap=127.0.0.1:{taken}"], "Address already in use"),
        (["--passwd-file={missing}", "--imap=127.0.0.1:0"], "passwd_file {missing}: No such file"),
        (["--passwd-file={users}", "--imap=127.0.0.1:0", "--tls-cert={missing}"], "tls_cert {missing}: No such file"),
        (["--passwd-file={users}", "--imap=127.0.0.1:0", "--tls-cert={users}"], "tls_cert {users}: no certificate"),
        (["--passwd-file={users}", "--imap=127.0.0.1:0", "--mail-user=nobody-at-all"], "there is no user"),
        (
            ["--passwd-file={users}", "--imap=127.0.0.1:0", "--log-file={missing}/log"],
            "log_file {missing}/log: No such",
        ),
        (
            ["--passwd-file={users}", "--imap=127.0.0.1:0", "--pid-file={missing}/pid"],
            "pid_file {missing}/pid: No such",
        ),
        (["--workers=0"], "--workers must be a whole number from 1"),
        (["--workers=many"], "--workers must be a whole number"),
        (["--append-limit=lots"], "--append-limit must be a size"),
        (["--login-timeout=nan"], "--login-timeout must be a time"),
        (["--watch=fam"], "--watch must be one of auto, inotify, poll"),
        (["--mail-location=mbox:~/mail"], "--mail-location must be maildir:PATH"),
        (["--mail-location=maildir:mail/%u"], "--mail-location must be an absolute path"),
        (["--mail-location=maildir:/m/%x"], "--mail-location may use the variables"),
        (
            [
                *("--passwd-file={users}", "--imap=127.0.0.1:0"),
                *("--last-login-file={missing}", "--auth-device-used-file={missing}"),
            ],
            "last_login_file and auth_device_used_file must be two files",
        ),
        (
            [
                *("--passwd-file={users}", "--imap=127.0.0.1:0"),
                *("--mailboxes=Sent: use=Sent", "--mailboxes=Out: use=\\Sent"),
            ],
            "mailboxes has two of the special use Sent: Sent and Out",
        ),
        (["--config={unknown}"], "unknown setting 'worker' (did you mean workers?)"),
        (["--config={torn}"], "{torn}:1: "),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.slow
def test_serve_that_cannot_start(words: list[str], expected: str, tmp_path: Path) -> None:
    """In a process of its own, for it forks: one line, exit status 78 (EX_CONFIG)."""
    (tmp_path / "users").write_text("ann:{PLAIN}x\n")
    (tmp_path / "unknown").write_text("worker = 3\n")
    (tmp_path / "torn").write_text("workers = \n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        names = {name: str(tmp_path / name) for name in ("users", "missing", "unknown", "torn")}
        names["taken"] = str(listener.getsockname()[1])
        result = subprocess.run(
            [sys.executable, "-m", "maildir_imapd", "serve", *[word.format(**names) for word in words]],
            capture_output=True,
            text=True,
            timeout=60,
            # A file where the directory of a certificate of its own would be made.
            env={**os.environ, "XDG_STATE_HOME": names["users"]},
        )
    lines = [line for line in result.stderr.splitlines() if "running as root" not in line and " error " not in line]
    assert result.returncode == 78, result
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("maildir-imapd: ")
    assert expected.format(**names) in lines[0]
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.slow
def test_users_from_beginning_to_end(tmp_path: Path) -> None:
    path = tmp_path / "users"
    file = f"--passwd-file={path}"
    assert run("user", "add", "ann", file, "--scheme=ssha", said="secret\n").output == f"added ann to {path}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert fails("user", "add", "ann", file, said="x\n", status=1).startswith("maildir-imapd: the user ann exists")
    assert run("user", "add", "ben@example.org", file, "--scheme=PLAIN", "--home=/h/ben", said="a:b\n").exit_code == 0
    assert run("user", "list", file).output == "ann\nben@example.org\n"
    assert run("user", "test", "ann", file, said="secret\n").exit_code == 0
    assert run("user", "test", "ben@example.org", file, said="a:b\n").exit_code == 0
    assert fails("user", "test", "ann", file, said="Secret\n", status=1) == "maildir-imapd: ann: the password is wrong"
    assert fails("user", "test", "nobody", file, said="x\n", status=67).startswith("maildir-imapd: there is no user")
    assert run("user", "passwd", "ann", file, "--scheme=SHA256-CRYPT", said="new\n").exit_code == 0
    assert run("user", "test", "ann", file, said="new\n").exit_code == 0
    assert "no user nobody" in fails("user", "passwd", "nobody", file, said="x\n", status=67)
    assert run("user", "remove", "ann", file).output == "removed ann; the mail was not touched\n"
    assert "no user ann" in fails("user", "remove", "ann", file, status=67)
    assert run("user", "list", file).output == "ben@example.org\n"


def test_a_line_without_further_fields_stays_a_line(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("# people\nann:{PLAIN}a\nben:{PLAIN}b:1:2::/home/b::x=y")
    path.chmod(0o640)
    assert run("user", "passwd", "ann", f"--passwd-file={path}", "--scheme=PLAIN", said="c\n").exit_code == 0
    assert run("user", "passwd", "ben", f"--passwd-file={path}", "--scheme=PLAIN", said="d\n").exit_code == 0
    assert path.read_text() == "# people\nann:{PLAIN}c\nben:{PLAIN}d:1:2::/home/b::x=y\n"
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("name", ["../ann", ".ann", "a b", "a:b", "#a", "a@..", ""])
def test_names_that_nobody_may_have(name: str, tmp_path: Path) -> None:
    line = fails("user", "add", f"--passwd-file={tmp_path}/users", "--", name, said="x\n", status=78)
    assert "cannot be a user name" in line


def test_what_user_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maildir_imapd.cli.options.machines_file", lambda: None)
    assert "which file?" in fails("user", "list", status=78)
    assert "No such file" in fails("user", "list", f"--passwd-file={tmp_path}/none", status=78)
    assert "No such file" in fails("user", "add", "ann", f"--passwd-file={tmp_path}/x/y", said="x\n", status=78)
    assert "empty password" in fails("user", "add", "ann", f"--passwd-file={tmp_path}/users", said="\n", status=78)
    assert not (tmp_path / "users").exists()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", schemes.WRITTEN)
def test_hash_password(scheme: str) -> None:
    made = run("hash-password", "--scheme", scheme.lower(), said="secret\n").output.strip()
    assert schemes.verify(made, b"secret")


def test_bcrypt_says_what_it_cannot_hold() -> None:
    line = fails("hash-password", "--scheme=BLF-CRYPT", said="x" * 80 + "\n", status=78)
    assert "72 octets" in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "conf").touch(mode=0)
    assert "Permission denied" in fails("user", "list", f"--config={tmp_path}/conf", status=78)


@pytest.mark.slow
def test_output_that_nobody_reads(tmp_path: Path) -> None:
    """``... | head -1`` is no error and no traceback."""
    path = tmp_path / "users"
    path.write_text("".join(f"user{n}:{{PLAIN}}x\n" for n in range(20_000)))
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "maildir_imapd", "user", "list", f"--passwd-file={path}"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    os.close(writer)
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_try_serves_a_sample(tmp_path: Path) -> None:
    """The two-minute acquaintance: what it prints works."""
    import re
    import signal

    from client import Client

    env = {**os.environ, "HOME": str(tmp_path), "XDG_STATE_HOME": ""}
    command = [sys.executable, "-m", "maildir_imapd", "try", "--imap=127.0.0.1:0", "--imaps=127.0.0.1:0"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        said = "".join(lines)
        port = int(re.search(r"imap 127\.0\.0\.1:(\d+)", said)[1])  # type: ignore[index]
        user = re.search(r"user +(\S+)", said)[1]  # type: ignore[index]
        password = re.search(r"password +(\S+)", said)[1]  # type: ignore[index]
        with Client.to(port, user=user, password=password) as client:
            client.ok("SELECT INBOX")
            assert any(b"Lunch on Friday" in line for line in client.ok("FETCH 1:* (ENVELOPE)"))
            assert any(b"Lists.Garden" in line for line in client.ok('LIST "" *'))
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    state = tmp_path / ".local" / "state" / "maildir-imapd"
    assert {path.name for path in state.iterdir()} >= {"password", "passwd", "cert.pem", "key.pem", "sample"}
    for name in ("password", "passwd", "key.pem"):
        assert (state / name).stat().st_mode & 0o077 == 0
    no_maildir = tmp_path / "empty"
    no_maildir.mkdir()
    done = subprocess.run([*command, str(no_maildir)], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert "is empty: there is no mail to try it on" in done.stderr


# Runs a command line as if the machine's configuration were the file of the first word.
AS_IF = (
    "import sys; from maildir_imapd.cli import options, run; options.DEFAULT_FILE = sys.argv.pop(1); "
    "sys.argv[0] = 'maildir-imapd'; run()"
)


def as_if(machine: Path, home: Path, *words: str, said: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command with another configuration of the machine's and another home."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MAILDIR_IMAPD_"))}
    command = [sys.executable, "-c", AS_IF, str(machine), *words]
    env["HOME"] = str(home)
    return subprocess.run(command, env=env, input=said, capture_output=True, text=True, timeout=60)


def own_configuration(home: Path, text: str, name: str = "maildir-imapd.toml") -> None:
    own = home / ".config" / "maildir-imapd" / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text(text)


LIST = 'a LIST "" *\nb LOGOUT\n'


@pytest.mark.slow
def test_the_users_own_file_goes_before_the_machines(tmp_path: Path) -> None:
    Spool(tmp_path / "Post").simple("Mine", 1)
    machine = tmp_path / "machine.conf"
    machine.write_text('mail_location = "maildir:~/Elsewhere"\n')
    own_configuration(tmp_path, 'mail_location = "maildir:~/Post"\ndelimiter = "/"\n')
    done = as_if(machine, tmp_path, "tunnel", said=LIST)
    assert '"/" Mine' in done.stdout
    assert "Mine" in as_if(machine, tmp_path, "adopt", "--dry-run").stdout
    # For all users it is the machine's, which here names no passwd-file.
    assert "which users?" in as_if(machine, tmp_path, "adopt", "--dry-run", "--all").stderr
    other = tmp_path / "other.conf"
    other.write_text('mail_location = "maildir:~/Post"\ndelimiter = "|"\n')
    assert '"|" Mine' in as_if(machine, tmp_path, "tunnel", "-c", str(other), said=LIST).stdout


@pytest.mark.slow
def test_the_places_of_old_are_read_where_there_are_no_others(tmp_path: Path) -> None:
    own_configuration(tmp_path, 'delimiter = "|"\n', "maildir-imapd.conf")
    Spool(tmp_path / "Maildir").simple("Mine", 1)
    assert '"|" Mine' in as_if(tmp_path / "none", tmp_path, "tunnel", said=LIST).stdout
    own_configuration(tmp_path, 'delimiter = "/"\n')
    assert '"/" Mine' in as_if(tmp_path / "none", tmp_path, "tunnel", said=LIST).stdout


def test_the_machines_file_of_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.conf", tmp_path / "new.toml"
    monkeypatch.setattr("maildir_imapd.cli.options.OLD_DEFAULT_FILE", str(old))
    monkeypatch.setattr("maildir_imapd.cli.options.DEFAULT_FILE", str(new))
    assert machines_file() is None
    old.write_text(f'passwd_file = "{tmp_path}/none"\n')
    assert machines_file() == str(old)
    assert f"{tmp_path}/none" in fails("user", "list", status=78)
    new.write_text("")
    assert machines_file() == str(new)
    assert "which file?" in fails("user", "list", status=78)


@pytest.mark.slow
def test_try_takes_what_the_users_own_file_says(tmp_path: Path) -> None:
    own_configuration(tmp_path, 'mail_location = "maildir:~/Post:LAYOUT=fs"\nwrong = 1\n')
    done = as_if(tmp_path / "none", tmp_path, "try")
    assert (done.returncode, "Post is not there" in done.stderr) == (78, True)
    (tmp_path / "Post").mkdir()
    done = as_if(tmp_path / "none", tmp_path, "try")
    assert "is empty" in done.stderr
    Spool(tmp_path / "Post").simple("INBOX", 1)
    done = as_if(tmp_path / "none", tmp_path, "try")
    assert "maildir-imapd.toml:2: unknown setting 'wrong'" in done.stderr


@pytest.mark.slow
def test_home_says_where_ones_own_mail_is(tmp_path: Path) -> None:
    Spool(tmp_path / "Maildir").simple("Mine", 1)
    none = tmp_path / "none"
    assert " Mine" in as_if(none, tmp_path, "tunnel", said=LIST).stdout
    assert "Mine" in as_if(none, tmp_path, "adopt", "--dry-run").stdout


@pytest.mark.slow
def test_a_file_of_the_machines_that_cannot_be_read_stops_no_tunnel(tmp_path: Path) -> None:
    """Who runs a tunnel has often no right to read what the server needs."""
    Spool(tmp_path / "Maildir").simple("Mine", 1)
    unreadable = tmp_path / "machine.conf"
    unreadable.mkdir()
    done = as_if(unreadable, tmp_path, "tunnel", said=LIST)
    assert " Mine" in done.stdout
    assert done.stderr == f"maildir-imapd: {unreadable}: Is a directory; going on with the defaults\n"
    done = as_if(unreadable, tmp_path, "adopt", "--dry-run")
    assert (done.returncode, done.stderr) == (78, f"maildir-imapd: {unreadable}: Is a directory\n")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as others")


def test_user_add_says_whose_the_mail_is(tmp_path: Path) -> None:
    """Root's server serves each line as its uid: the system user of that name, unless another is said."""
    path = tmp_path / "users"
    nobody = pwd.getpwnam("nobody")
    file = f"--passwd-file={path}"
    added = run("user", "add", "nobody", file, "--scheme=PLAIN", said="x\n")
    run("user", "add", "ann", file, "--scheme=PLAIN", "--uid=nobody", said="x\n")
    run("user", "add", "ben", file, "--scheme=PLAIN", "--uid=54321", "--gid=54322", said="x\n")
    run("user", "add", "daemon", file, "--scheme=PLAIN", "--uid=none", said="x\n")
    lines = path.read_text().splitlines()
    assert lines[3] == "daemon:{PLAIN}x::::::"
    own = f"{nobody.pw_uid}:{nobody.pw_gid}" if os.geteuid() == 0 else ":"
    assert lines[0].startswith(f"nobody:{{PLAIN}}x:{own}:")
    assert lines[1].startswith(f"ann:{{PLAIN}}x:{nobody.pw_uid}:{nobody.pw_gid}:")
    assert lines[2].startswith("ben:{PLAIN}x:54321:54322:")
    if os.geteuid() == 0:
        assert f"uid {nobody.pw_uid}" in added.output
        assert "root is not served" in fails("user", "add", "root", file, said="x\n", status=78)
    for wrong in (["--uid=54321"], ["--gid=5"], ["--uid=none", "--gid=5"], ["--uid=0"], ["--uid=nobody", "--gid=none"]):
        assert fails("user", "add", "cyd", file, *wrong, said="x\n", status=78), wrong


def test_the_lock_of_the_passwd_file_is_no_link(tmp_path: Path) -> None:
    """Root must not empty a file that the owner of the directory chose."""
    (tmp_path / "precious").write_text("x")
    (tmp_path / ".users.lock").symlink_to(tmp_path / "precious")
    fails("user", "add", "ann", f"--passwd-file={tmp_path}/users", "--scheme=PLAIN", said="x\n", status=78)
    assert (tmp_path / "precious").read_text() == "x"


@needs_root
def test_maintenance_acts_as_the_owner_of_the_spool(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    (tmp_path / "users").write_text("ann:{PLAIN}x::::::\nben:{PLAIN}x::::::\n")
    for name, uid in (("ann", 54321), ("ben", 0)):
        Spool(tmp_path / name / "Maildir").simple("INBOX", 2)
        for path in (tmp_path / name, *(tmp_path / name).rglob("*")):
            os.chown(path, uid, uid)
    words = [f"--passwd-file={tmp_path}/users", f"--mail-location=maildir:{tmp_path}/%n/Maildir"]
    run("adopt", "--user=ann", *words)
    assert {path.stat().st_uid for path in (tmp_path / "ann").rglob("*")} == {54321}
    run("release", "--to=dovecot", "--user=ann", *words)
    assert {path.stat().st_uid for path in (tmp_path / "ann").rglob("*")} == {54321}
    # Root's own, where another may put something else in its place.
    (tmp_path / "ben").chmod(0o777)
    result = run("adopt", "--user=ben", *words)
    assert result.exit_code == 3
    assert "others can change" in " ".join(result.output.split())
    assert not list((tmp_path / "ben").rglob("maildir-imapd*"))


def test_try_says_how_the_folders_are_laid_out(tmp_path: Path) -> None:
    """``try ~/Mail``, as mbsync and mutt keep it; and what is no mail is said to be none, in words."""
    try_ = importlib.import_module("maildir_imapd.cli.try_")
    for name in ("INBOX", "Lists/Garden"):
        for sub in ("cur", "new", "tmp"):
            (tmp_path / "Mail" / name / sub).mkdir(parents=True)
    said = try_._look(tmp_path / "Mail")
    assert said.startswith("LAYOUT=fs, INBOX is ")
    assert said.endswith(": its folders begin with no dot, INBOX among them")
    (tmp_path / "mbox").write_text("From x\n")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "notes").touch()
    for name, why in (("mbox", "is an mbox file"), ("none", "not there"), ("else", "no Maildir lies below")):
        with pytest.raises(ConfigError, match=why):
            try_._look(tmp_path / name)


def test_a_new_user_has_a_maildir(tmp_path: Path) -> None:
    """Where it is known which; the directories above it are made too, which a login does not do."""
    file = f"--passwd-file={tmp_path}/users"
    where = [f"--mail-location=maildir:{tmp_path}/srv/%d/%n", *(["--mail-user=root"] if os.geteuid() == 0 else [])]
    made = run("user", "add", "ann@example.org", file, "--scheme=PLAIN", *where, said="x\n")
    assert made.output == f"added ann@example.org to {tmp_path}/users\nthe mail is in {tmp_path}/srv/example.org/ann\n"
    for name in ("cur", "new", "tmp"):
        assert (tmp_path / "srv" / "example.org" / "ann" / name).stat().st_mode & 0o777 == 0o700
    run("user", "add", "ben", file, "--scheme=PLAIN", *where, "--no-make-maildir", said="x\n")
    run("user", "add", "cyd", file, "--scheme=PLAIN", f"--home={tmp_path}/cyd", said="x\n")  # nobody says where
    assert sorted(path.name for path in tmp_path.iterdir()) == [".users.lock", "srv", "users"]
    assert os.listdir(tmp_path / "srv") == ["example.org"]
    if os.geteuid() != 0:
        run("user", "add", "dan", file, "--scheme=PLAIN", f"--home={tmp_path}/dan", "--make-maildir", said="x\n")
        assert (tmp_path / "dan" / "Maildir" / "cur").is_dir()


def test_a_maildir_that_cannot_be_made(tmp_path: Path) -> None:
    """The user is added all the same; it is an error only where it was asked for by name."""
    config = tmp_path / "conf"
    owner = 'mail_user = "root"\n' if os.geteuid() == 0 else ""
    config.write_text(f'passwd_file = "{tmp_path}/users"\nmail_location = "maildir:{tmp_path}/mail/%n"\n{owner}')
    config.write_text(config.read_text() + 'spool_marker = ".spool"\n')
    added = run("user", "add", "ann", f"--config={config}", "--scheme=PLAIN", said="x\n")
    assert added.exit_code == 0
    assert "the Maildir of ann was not made" in added.stderr
    assert ".spool" in added.stderr
    refused = run("user", "add", "ben", f"--config={config}", "--scheme=PLAIN", "--make-maildir", said="x\n")
    assert refused.exit_code == 1
    assert "the Maildir of ben was not made" in refused.stderr
    assert not (tmp_path / "mail").exists()
    assert [line.partition(":")[0] for line in (tmp_path / "users").read_text().splitlines()] == ["ann", "ben"]
    (tmp_path / ".spool").touch()
    assert run("user", "add", "cyd", f"--config={config}", "--scheme=PLAIN", said="x\n").exit_code == 0
    assert (tmp_path / "mail" / "cyd" / "cur").is_dir()
