"""URLs that let others read, beside the real Dovecot: the same of each message, whoever authorized it."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from dovecot import Dovecot, metadata
from memory import POLICY, MemoryClient
from spool import Spool

from maildir_imapd.imap.policy import UrlRules
from maildir_imapd.store.account import Account

pytestmark = pytest.mark.interop

MESSAGE = (
    b"Subject: x\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    b"--b\nContent-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n=C3=A4\nb=\nc\n"
    b"--b\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAECAwo=\n"
    b"--b\nContent-Type: message/rfc822\n\n"
    b"Subject: y\nMIME-Version: 1.0\nContent-Transfer-Encoding: base64\n\naW5uZXI=\n--b--\n"
)
PARTS = (
    "", "/;section=1", "/;section=2", "/;section=3", "/;section=3.TEXT", "/;section=3.1", "/;section=HEADER",
    "/;section=2.MIME", "/;section=TEXT", "/;section=2/;partial=1.3", "/;section=HEADER.FIELDS%20(subject)",
)  # fmt: skip
# Dovecot 2.3 breaks off where BINARY and BODYPARTSTRUCTURE are asked for together, and at BINARY of a TEXT; of a whole
# message it decodes what is in it, too.
PARAMETERS = ("", " BODY", " BINARY", " BODYPARTSTRUCTURE")
RUMP = "imap://witness@mail.example.org/INBOX/;uid=1%s;urlauth=user+witness"


def asked(urls: list[str]) -> list[str]:
    """The commands that ask for all of it."""
    return [
        f'URLFETCH ("{url}"{parameter})' if parameter else f'URLFETCH "{url}"'
        for url in urls
        for parameter in PARAMETERS
        if not (parameter == " BINARY" and not re.search("section=(1|2|3.1|2.MIME)[;/]", url))
    ]


def authorized(lines: list[str]) -> list[str]:
    return [line.split()[2].strip('"') for line in lines if line.startswith("* GENURLAUTH ")]


def without_tokens(lines: list[str]) -> str:
    """What was told, without what each server may choose: tokens, quotes, and texts of tagged lines."""
    text = re.sub(r"(?m)^\* URLFETCH \"?(\S+?):internal:[0-9a-f]+\"? ", r"* URLFETCH \1 ", "\n".join(lines))
    return re.sub(r"(?m)^\S+ OK .*\n?", "", text)


def test_the_same_is_told(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "Maildir")
    spool.put("INBOX", MESSAGE, "", base="1793800000.one.host")
    shutil.copytree(tmp_path / "Maildir", tmp_path / "ours")
    dovecot = Dovecot(tmp_path, metadata(tmp_path) + "imap_urlauth_host = mail.example.org\n")
    made = [f'GENURLAUTH "{RUMP % part}" INTERNAL' for part in PARTS]
    urls = authorized(dovecot.talk("SELECT INBOX", *made))
    assert len(urls) == len(PARTS)
    # One command a session: Dovecot 2.3 answers several of them out of turn.
    theirs = [line for command in asked(urls) for line in dovecot.talk(command)[1:-3]]
    policy = replace(POLICY, urls=UrlRules(frozenset({("mail.example.org", 143)})))
    client = MemoryClient(Account(bytes(tmp_path / "ours"), fsync="never"), policy, "witness")
    client.read_line()
    client.command(b"a LOGIN witness secret")
    urls = authorized([client.command(b"a " + command.encode())[0].decode() for command in made])
    ours = [
        line.decode("utf-8", "replace") for command in asked(urls) for line in client.command(b"a " + command.encode())
    ]
    assert without_tokens(ours).replace("~{", "{") == without_tokens(theirs).replace("~{", "{")
    assert "* URLFETCH" in without_tokens(ours)
