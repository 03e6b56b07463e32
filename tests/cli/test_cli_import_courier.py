"""Courier's configuration becomes ours."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from maildir_imapd.cli import main
from maildir_imapd.config import load

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


def test_courier(tmp_path: Path) -> None:
    settings, text = imported(COURIER, tmp_path)
    assert settings["imap"] == ["*:143"]
    assert settings["imaps"] == ["*:993"]
    assert settings["prefix"] == "INBOX."
    assert settings["connections_per_user_and_address"] == 20
    assert "IMAP_EMPTYTRASH: " in text
    assert "LOCAL_FROBNICATION, LOCAL_TOO: unknown to us" in text
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


@pytest.mark.parametrize(("value", "acl"), [("1", True), ("0", False)])
def test_couriers_rights_and_list_of_shares(value: str, acl: bool, tmp_path: Path) -> None:
    path = tmp_path / "imapd"
    path.write_text(f"MAILDIRPATH=Maildir\nIMAP_ACL={value}\nIMAP_SHAREDINDEXFILE=/etc/courier/shared/index\n")
    done = CliRunner().invoke(main, ["import-config", str(path)])
    assert f"acl = {str(acl).lower()}" in done.output
    assert "IMAP_SHAREDINDEXFILE: who shares with whom" in done.output
