"""From the configuration to the values that a worker goes by."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from maildir_imapd.auth.base import Password
from maildir_imapd.config import BY_NAME, load
from maildir_imapd.errors import ConfigError
from maildir_imapd.server import memory, settings
from maildir_imapd.server.settings import ListeningPlace
from maildir_imapd.store.maildir import packed
from maildir_imapd.values import Endpoint

SERVER = Path(settings.__file__).parent


def test_what_the_server_tells_of_itself(tmp_path: Path) -> None:
    file = tmp_path / "metadata"
    file.write_text("# ours\n/shared/admin mailto:postmaster@example.org\n")
    config = load(None, {"server_metadata": str(file), "acl": "no"})
    told = settings.server_metadata(config)
    assert told == ((b"/shared/admin", b"mailto:postmaster@example.org"),)
    assert settings.server_metadata(load(None, {})) == ()
    rules = settings.policy(config, tls=False, loopback=True, metadata=told)
    assert (rules.server_metadata, rules.acl) == (told, False)
    file.write_text("/private/comment x\n")
    with pytest.raises(ConfigError, match="line 1 "):
        settings.server_metadata(config)
    file.unlink()
    with pytest.raises(ConfigError, match="No such file"):
        settings.server_metadata(config)


def test_who_may_send_a_password_bare() -> None:
    config = load(None, {"plaintext_login": "loopback"})
    assert settings.policy(config, tls=False, loopback=True).plaintext_login
    assert not settings.policy(config, tls=False, loopback=False).plaintext_login
    assert not settings.policy(load(None, {}), tls=False, loopback=True).plaintext_login


def test_a_command_has_room_for_a_line_and_four_literals() -> None:
    rules = settings.policy(load(None, {"line_limit": "2K", "literal_limit": "1K"}), tls=False, loopback=False)
    assert (rules.after_login.line, rules.after_login.literal, rules.after_login.command) == (2048, 1024, 6144)


def test_the_back_ends(tmp_path: Path) -> None:
    assert settings.chain(load(None, {})).back_ends == ()
    (tmp_path / "passwd").write_text("ann:{PLAIN}secret\n")
    chain = settings.chain(load(None, {"passwd_file": str(tmp_path / "passwd"), "auth_failure_delay": "3s"}))
    assert chain.identify(Password("ann", b"secret")).user == "ann"
    assert chain.pause(1, "ann", "192.0.2.1") == 3
    with pytest.raises(ConfigError, match="No such file"):
        settings.chain(load(None, {"passwd_file": str(tmp_path / "none")}))


def test_where_mail_is_and_how_it_is_kept() -> None:
    given = {"mail_location": "maildir:/srv/%n", "quota_storage": "1M", "quota_mailboxes": 9, "fsync": "never"}
    mail = settings.mail(load(None, given))
    assert (mail.location, mail.user, mail.quotas.everybody.storage) == ("maildir:/srv/%n", None, 1 << 20)
    assert (mail.keeping.fsync, mail.quotas.everybody.mailboxes, mail.keeping.coexist) == ("never", 9, False)


def test_what_a_process_gives_up() -> None:
    limits = settings.confinement(load(None, {"passwd_file": "/etc/mail/passwd", "memory_limit": "1G"}))
    assert (limits.reads, limits.memory_limit, limits.core_dumps) == (("/etc/mail/passwd",), 1 << 30, False)


def test_what_large_messages_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.budget(load(None, {"memory_limit": "1G"})).limit == 1 << 29
    monkeypatch.setattr(memory, "machine_octets", lambda: 8 << 30)
    assert settings.budget(load(None, {"workers": 2})).limit == 1 << 30
    assert settings.budget(load(None, {"workers": 1000})).limit == settings.LEAST_LARGE_OCTETS


def test_where_to_listen() -> None:
    config = load(None, {"imap": ["127.0.0.1:143"], "imaps": ["*:993"], "tls_cert": "/cert"})
    assert settings.listening(config) == [
        ListeningPlace(Endpoint("127.0.0.1", 143)),
        ListeningPlace(Endpoint("::", 993), implicit_tls=True),
    ]
    settings.demand_listening(config)
    with pytest.raises(ConfigError, match="nothing to listen on"):
        settings.demand_listening(load(None, {}))
    with pytest.raises(ConfigError, match="needs a certificate"):
        settings.demand_listening(load(None, {"imaps": ["*:993"]}))
    proxied = {"imap_proxy": ["127.0.0.1:144"], "imaps_proxy": ["127.0.0.1:994"], "tls_cert": "/cert"}
    with pytest.raises(ConfigError, match="need proxy_networks"):
        settings.demand_listening(load(None, proxied))
    config = load(None, {**proxied, "proxy_networks": ["192.0.2.7", "2001:db8::/32"]})
    settings.demand_listening(config)
    assert [(place.implicit_tls, place.proxy) for place in settings.listening(config)] == [(False, True), (True, True)]


# The files that read settings: all, and those of a subject.
SUBJECTS = ({"settings.py"}, {"back_ends.py"}, {"tls.py"}, {"quotas.py"})


def test_a_setting_is_read_in_one_place() -> None:
    """By one file of ``server``, so that what it means stands once."""
    readers: dict[str, set[str]] = {}
    for path in SERVER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in BY_NAME and ast.unparse(node.value).endswith("config"):
                readers.setdefault(node.attr, set()).add(path.name)
    # How many workers there are is the supervisor's to start, and theirs to share the machine's memory.
    assert readers.pop("workers") == {"settings.py", "supervisor.py"}
    assert not {name: places for name, places in readers.items() if len(places) > 1}
    # What the supervisor reads is of the process, and of no connection.
    own = {name for name, places in readers.items() if places not in SUBJECTS}
    assert own == {"check_spool", "pid_file", "shutdown_timeout"}


def test_compressing_without_the_library_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.keeping(load(None, {"compress_mail": "zstd"})).compress_mail == "zstd"
    monkeypatch.setattr(packed, "zstandard", None)
    with pytest.raises(ConfigError, match="zstandard"):
        settings.keeping(load(None, {"compress_mail": "zstd"}))


def test_last_logins_and_devices_are_two_files(tmp_path: Path) -> None:
    path = str(tmp_path / "used")
    assert settings.last_login(load(None, {})) is None
    with pytest.raises(ConfigError, match="must be two files"):
        settings.demand_listening(
            load(None, {"imap": ["127.0.0.1:0"], "last_login_file": path, "auth_device_used_file": path})
        )
    config = load(None, {"last_login_file": path})
    assert settings.confinement(config).writes == (path,)
    logins = settings.last_login(config)
    assert logins is not None
    logins.close()
