"""Die everywhere while mail comes in: what was answered with 250 is there, once, and nothing else is.

The process ends before every single step of the disk, by LMTP for two users of one owner, and as ``deliver``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from crash import die_at, run

from maildir_imapd.config import load
from maildir_imapd.lmtp.answers import STORED
from maildir_imapd.lmtp.dialogue import LmtpDialogue
from maildir_imapd.server import delivering, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.delivering import DeliveryOrder
from maildir_imapd.server.lmtp_service import LmtpService
from maildir_imapd.server.sessions import Visit
from maildir_imapd.store.account import Account

pytestmark = pytest.mark.slow  # a spool for each step

TEXT = b"Subject: one\n\nbody\n"
WIRE = TEXT.replace(b"\n", b"\r\n")
USERS = ("ann", "ben")
LIMIT = 400


class _Line:
    """As a transport, whose client hears what is sent even if the server dies then."""

    def __init__(self, heard: int) -> None:
        self._heard = heard

    def send(self, data: bytes) -> None:
        os.write(self._heard, data)


def config_of(base: Path) -> object:
    given = {"mail_location": f"maildir:{base}/%n", "passwd_file": str(base / "passwd"), "watch": "poll"}
    return load(None, {**given, **({"mail_user": "root"} if os.geteuid() == 0 else {})})


def by_lmtp(base: Path, heard: int) -> None:
    config = config_of(base)
    chain, accounts = settings.chain(config), Accounts(settings.mail(config), None)  # type: ignore[arg-type]
    line, rules = _Line(heard), settings.lmtp(config)  # type: ignore[arg-type]
    service = LmtpService(
        Visit("", "local"),
        line,  # type: ignore[arg-type]
        chain,
        accounts,
        rules,
        trusted=True,
        count=lambda code: None,
    )
    assert isinstance(service._dialogue, LmtpDialogue)
    service.feed(b"LHLO x\r\nMAIL FROM:<a@b>\r\n" + b"".join(b"RCPT TO:<%b>\r\n" % u.encode() for u in USERS))
    service.feed(b"DATA\r\n" + WIRE)
    service.feed(b".\r\n")


def by_command(base: Path, heard: int) -> None:
    reading, writing = os.pipe()
    os.write(writing, TEXT)
    os.close(writing)
    order = DeliveryOrder("ann", sender=b"a@b")
    if delivering.deliver(config_of(base), reading, order) is STORED:  # type: ignore[arg-type]
        os.write(heard, STORED.render())


@pytest.mark.parametrize("torn", [False, True], ids=["before", "torn"])
@pytest.mark.parametrize(("work", "users"), [(by_lmtp, USERS), (by_command, USERS[:1])], ids=["lmtp", "deliver"])
@pytest.mark.parametrize("quota", [False, True], ids=["free", "quota"])
def test_die_everywhere(
    tmp_path: Path, work: Callable[[Path, int], None], users: tuple[str, ...], torn: bool, quota: bool
) -> None:
    lived, number, deaths = False, 0, 0
    while not lived:
        number += 1
        assert number < LIMIT, "it never ends"
        base = tmp_path / str(number)
        base.mkdir()
        rule = "::::::userdb_quota_rule=*:storage=1M" if quota else ""
        (base / "passwd").write_text("".join(f"{user}:{{PLAIN}}x{rule}\n" for user in USERS))
        for user in USERS:
            # Not the first message of an INBOX.
            box = Account(os.fsencode(base / user), fsync="never").mailbox("INBOX")
            item = box.deliver()
            item.write(b"Subject: before\n\n")
            box.commit([(item, box.flags([], create=False), 1_000_000_000)])
        hearing, heard = os.pipe()

        def dying(base: Path = base, number: int = number, heard: int = heard) -> None:
            die_at(number, torn)
            work(base, heard)

        lived, _ = run(dying)
        deaths += not lived
        os.close(heard)
        with open(hearing, "rb") as file:
            stored = file.read().count(STORED.render())
        for n, user in enumerate(users):
            check(base, user, least=n < stored, most=1)
        # The sender tries again, with whom it has heard nothing of.
        hearing, heard = os.pipe()
        work(base, heard)
        os.close(heard)
        os.close(hearing)
        for user in users:
            check(base, user, least=1, most=2)
    assert deaths >= (2 if torn else 10)


def check(base: Path, user: str, *, least: int, most: int) -> None:
    """What a server finds that starts now: the message of before, and the one that came, whole, so often."""
    box = Account(os.fsencode(base / user), fsync="never").mailbox("INBOX")
    rows = box.sync(look=True)
    texts = [box.read(uid) for uid in rows.uids]
    assert texts[0] == b"Subject: before\n\n"
    assert all(text.endswith(TEXT) for text in texts[1:])
    assert least <= len(texts) - 1 <= most
    assert len(set(rows.uids)) == len(texts)
    # As the files are: nothing is half there.
    on_disk = [each for sub in ("cur", "new") for each in (base / user / sub).iterdir()]
    assert len(on_disk) == len(texts)
