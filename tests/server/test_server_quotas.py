"""How much users may keep: by what is said of them, of their groups, of everybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from spool import Spool

from maildir_imapd.auth.base import Identity, QuotaLimits
from maildir_imapd.auth.fields import identity, words
from maildir_imapd.config import load
from maildir_imapd.errors import ConfigError
from maildir_imapd.quota_values import QuotaException
from maildir_imapd.server import quotas, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.store.records.quota_rooms import Grace, MailboxRoom

GROUPS = ["staff: storage=10G, messages=200", "guests: storage=1M, mailboxes=5", "all: storage=0, mailboxes=7"]


def of(*groups: str, own: QuotaLimits | None = None, **given: object) -> tuple[int, int, int]:
    config = load(None, {"quota_groups": GROUPS, "quota_storage": "2M", "quota_mailboxes": 3, **given})
    found = quotas.of_settings(config).of(Identity("ann", groups=frozenset(groups), quota=own))
    return found.storage, found.messages, found.mailboxes


def test_whose_limit_goes_before() -> None:
    assert of() == (2 << 20, 0, 3)
    assert of("others") == (2 << 20, 0, 3)
    assert of("staff") == (10 << 30, 200, 3)
    assert of("guests") == (1 << 20, 0, 5)
    # Of each the most; no limit is more than any.
    assert of("staff", "guests") == (10 << 30, 200, 5)
    assert of("staff", "guests", "all") == (0, 200, 7)
    assert of("staff", own=QuotaLimits(5, 0)) == (5, 0, 3)
    assert of("staff", own=QuotaLimits(None, 7, 9)) == (10 << 30, 7, 9)


def test_fields_of_a_user() -> None:
    def made(written: str) -> QuotaLimits | None:
        return identity("ann", words(written)).quota

    assert made("quota_storage=1G") == QuotaLimits(1 << 30, None)
    assert made("userdb_quota_storage_size=1G quota_message_count=5 quota_mailbox_count=0") == QuotaLimits(
        1 << 30, 5, 0
    )
    assert made("quota_mailboxes=9") == QuotaLimits(None, None, 9)
    assert made("quota_rule=*:storage=1M quota_rule2=*:messages=7 quota_mailboxes=9") == QuotaLimits(1 << 20, 7, 9)
    assert made("quota_rule=*:storage=1M quota_storage=unlimited") == QuotaLimits(0, 0)
    assert made("quota_rule2=Trash:ignore") is None
    for wrong in ("quota_storage=-1", "quota_messages=many", "quota_mailboxes=1.5", "quota_storage=9999999999T"):
        assert made(wrong) is None


def test_rules_for_mailboxes_of_a_user(caplog: pytest.LogCaptureFixture) -> None:
    written = "quota_rule=*:storage=1M quota_rule2=Trash:ignore quota_rule3=Junk:storage=-5 quota_rule4=A/*:bytes=+5"
    found = identity("ann", words(written)).quota_exceptions
    assert found == (QuotaException(("Trash",), ignored=True), QuotaException(("A", "*"), storage=5))
    assert "quota passed over" in caplog.text
    config = load(None, {"quota_exceptions": ["Trash: storage=+1M", "Sent: ignore"], "quota_grace": "5M"})
    allowed = quotas.of_settings(config).of(Identity("ann", quota_exceptions=found))
    # His own goes before everybody's of that name.
    assert allowed.rooms == (
        MailboxRoom(("Trash",), ignored=True),
        MailboxRoom(("A", "*"), storage=5),
        MailboxRoom(("Sent",), ignored=True),
    )
    assert allowed.grace == Grace(5 << 20)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"quota_groups": ["a: storage=1", "a: messages=1"]}, "two items for the group a"),
        ({"quota_exceptions": ["a/b: ignore", "a/b: storage=+1"]}, "two items for a/b"),
        ({"quota_warnings": ["80:x", "under 80:x", "80%:y"]}, "two commands for 80 percent"),
        ({"quota_warnings": ["under 80:x", "under 80:y"]}, "two commands for under 80 percent"),
    ],
)
def test_what_is_said_twice(given: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        settings.mail(load(None, given))


def test_defaults() -> None:
    found = quotas.of_settings(load(None, {}))
    assert (found.groups, found.thresholds, found.everybody.rooms) == ((), (), ())
    assert found.everybody.grace == Grace(percent=10)
    config = load(None, {"quota_warnings": ["95:x", "under 80:x", "80:x"]})
    assert quotas.of_settings(config).thresholds == (80, 95)


def test_an_account_goes_by_it(tmp_path: Path) -> None:
    given = {"mail_location": f"maildir:{tmp_path}/%n/Maildir", "fsync": "never", "quota_groups": GROUPS}
    if os.geteuid() == 0:
        given["mail_user"] = "root"
    accounts = Accounts(settings.mail(load(None, {**given, "quota_exceptions": ["Trash: ignore"]})), None)
    spool = Spool(tmp_path / "ann" / "Maildir")
    spool.put("Trash", b"Subject: gone\r\n\r\n", "S")
    spool.put("INBOX", b"Subject: here\r\n\r\n", "S")
    account = accounts.account(Identity("ann", groups=frozenset({"guests"})))
    usage = account.quota.usage()
    assert usage is not None
    assert (usage.limit.storage, usage.used.messages, account.quota_mailboxes) == (1 << 20, 1, 5)
    # Another group at the next login, by the same account.
    assert accounts.account(Identity("ann", groups=frozenset({"staff"}))) is account
    usage = account.quota.usage()
    assert usage is not None
    assert (usage.limit, account.quota_mailboxes) == ((10 << 30, 200), 0)
