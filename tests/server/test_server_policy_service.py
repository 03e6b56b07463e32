"""Whether a recipient has room, as Postfix asks it of a policy service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asked import Asker, answering
from lmtp_talker import Lmtp
from spool import Spool

from maildir_imapd.server import asking
from maildir_imapd.server.policy_service import LINE_OCTETS, LINES

USERS = (
    "ann:{PLAIN}secret::::::userdb_quota_rule=*:storage=1K\n"
    "ben:{PLAIN}secret::::::userdb_quota_rule=*:messages=1\n"
    "cyd:{PLAIN}secret\ndan:{PLAIN}secret::::::userdb_quota_rule=*:storage=1K\n"
)
FULL = b"action=552 5.2.2 The mailbox is full\n"
DUNNO = b"action=DUNNO\n"
K = 1024


@pytest.fixture
def asker(tmp_path: Path) -> Iterator[Asker]:
    for user in ("ann", "ben", "cyd"):
        spool = Spool(tmp_path / user / "Maildir")
        spool.put("INBOX", b"Subject: x\r\n\r\n" + b"x" * 500 + b"\r\n")
    with answering(tmp_path, ["policy"], USERS) as addresses, Asker(addresses["policy"]) as found:
        yield found


def ask(asker: Asker, **fields: object) -> bytes:
    lines = {"request": "smtpd_access_policy", "protocol_state": "RCPT", **fields}
    asker.send("".join(f"{name}={value}\n" for name, value in lines.items()).encode() + b"\n")
    found = asker.line()
    assert asker.line() == b"\n"
    return found


def test_quotas(asker: Asker, tmp_path: Path) -> None:
    assert ask(asker, recipient="ann", size=100) == DUNNO
    assert ask(asker, recipient="ann", size=0) == DUNNO
    assert ask(asker, recipient="ann", size=5000) == FULL
    assert ask(asker, recipient="ANN+lists", size=5000) == FULL
    assert ask(asker, recipient="ben", size=0) == FULL
    assert ask(asker, recipient="ben") == FULL
    for nobody in ("cyd", "nobody", "", "a+b", "+", "@", "../ann", "dan"):
        assert ask(asker, recipient=nobody, size=10**9) == DUNNO
    for size in ("x", "-1", "9" * 30):
        assert ask(asker, recipient="ann", size=size) == DUNNO
    # Nothing is made for one who has no mail yet.
    assert not (tmp_path / "dan").exists()


GIVEN = {
    "quota_storage": "10K",
    "quota_groups": ["small: storage=2K"],
    "quota_exceptions": ["Trash: ignore", "Sent: storage=+1K"],
    "quota_grace": "10%",
}


@pytest.mark.parametrize(
    ("recipient", "size", "room"),
    [
        ("ann", 11 * K - 500, True),
        ("ann", 11 * K - 499, False),
        ("ann+trash", 10**8, True),
        ("ann+Sent", 12 * K - 500, True),
        ("ann+Sent", 12 * K - 499, False),
        # A folder that is not there is INBOX.
        ("ann+nowhere", 11 * K - 499, False),
        ("ben", 2 * K + 204, True),
        ("ben", 2 * K + 205, False),
        # One who has no room left has no grace, either.
        ("cyd", 1, False),
        ("cyd+trash", 1, True),
    ],
)
def test_postfix_and_lmtp_are_told_the_same(tmp_path: Path, recipient: str, size: int, room: bool) -> None:
    users = "ann:{PLAIN}x\nben:{PLAIN}x::::::acl_groups=small\ncyd:{PLAIN}x::::::acl_groups=small\n"
    for user, octets in (("ann", 500), ("ben", 0), ("cyd", 2 * K)):
        spool = Spool(tmp_path / user / "Maildir")
        for folder in ("Trash", "Sent"):
            spool.folder(folder)
        if octets:
            spool.put("INBOX", b"x" * (octets - 1) + b"\n")
        spool.put("Trash", b"y" * 5 * K)
    with (
        answering(tmp_path, ["policy", "lmtp"], users, **GIVEN) as addresses,
        Asker(addresses["policy"]) as policy,
        Lmtp(addresses["lmtp"]) as lmtp,
    ):
        assert ask(policy, recipient=recipient, size=size) == (DUNNO if room else FULL)
        assert lmtp.command(f"MAIL FROM:<a@example.org> SIZE={size}".encode()).startswith("250 ")
        assert lmtp.command(f"RCPT TO:<{recipient}>".encode())[:9] == ("250 2.1.5" if room else "552 5.2.2")


def test_trouble_keeps_no_mail_out(asker: Asker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "passwd").unlink()
    (tmp_path / "passwd").mkdir()
    assert ask(asker, recipient="ben") == DUNNO
    assert "quota cannot be known" in caplog.text


def test_an_error_of_ours_keeps_no_mail_out(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr("maildir_imapd.server.policy_service.PolicyService._is_full", broken)
    assert ask(asker, recipient="ben") == DUNNO
    assert "quota cannot be known" in caplog.text


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\n", "no request"),
        (b"request=junk\n\n", "no request"),
        (b"GET / HTTP/1.1\n", "without ="),
        (b"a=b\n" * (LINES + 1), "too many lines"),
        (b"a=" + b"x" * LINE_OCTETS, "too long"),
        (b"a=\0\n", "a NUL"),
    ],
)
def test_what_is_out_of_step_ends(asker: Asker, sent: bytes, why: str, caplog: pytest.LogCaptureFixture) -> None:
    asker.send(sent)
    assert asker.rest() == b""
    (record,) = [each for each in caplog.records if each.message == "bad request"]
    assert why in str(record.fields["why"])  # type: ignore[attr-defined]


def test_half_a_request_has_its_time(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(asker, recipient="cyd") == DUNNO
    monkeypatch.setattr(asking, "REQUEST_SECONDS", 0.2)
    asker.send(b"request=smtpd_access_policy\n")
    assert asker.rest() == b""
