"""How settings of quotas are written."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from maildir_imapd.quota_values import (
    GroupQuota,
    QuotaException,
    QuotaWarning,
    SizeOrPercent,
    exception_of_dovecot,
    group_quota,
    quota_exception,
    quota_warning,
    size_or_percent,
)

M = 1 << 20


def test_a_size_or_a_part() -> None:
    assert size_or_percent("10%") == SizeOrPercent(percent=10)
    assert size_or_percent("50M") == SizeOrPercent(50 * M)
    assert size_or_percent(0) == SizeOrPercent()
    assert size_or_percent(SizeOrPercent(7)) == SizeOrPercent(7)


def test_groups() -> None:
    assert group_quota("staff: storage=10G, messages=5, mailboxes=0") == GroupQuota("staff", 10 << 30, 5, 0)
    assert group_quota("a:b:messages=5") == GroupQuota("a:b", messages=5)
    assert group_quota(GroupQuota("x")) == GroupQuota("x")


def test_exceptions() -> None:
    assert quota_exception("Trash: ignore") == QuotaException(("Trash",), ignored=True)
    assert quota_exception("INBOX:ignore") == QuotaException(("INBOX",), ignored=True)
    assert quota_exception("A/B/*: ignore") == QuotaException(("A", "B", "*"), ignored=True)
    assert quota_exception("Trash: storage=+100M, messages=+10%") == QuotaException(
        ("Trash",), storage=100 * M, messages_percent=10
    )
    assert quota_exception("Trash: storage=50%, messages=7") == QuotaException(
        ("Trash",), storage_percent=50, messages=7
    )
    assert quota_exception(QuotaException(("x",))) == QuotaException(("x",))


def test_exceptions_as_dovecot_has_them() -> None:
    assert exception_of_dovecot("Trash:ignore") == QuotaException(("Trash",), ignored=True)
    assert exception_of_dovecot("Trash:storage=+100M") == QuotaException(("Trash",), storage=100 * M)
    assert exception_of_dovecot("Trash:storage=+100") == QuotaException(("Trash",), storage=100 << 10)
    assert exception_of_dovecot("Trash:bytes=+100:messages=+10%%") == QuotaException(
        ("Trash",), storage=100, messages_percent=10
    )
    assert exception_of_dovecot("A.B:ignore", ".") == QuotaException(("A", "B"), ignored=True)
    assert exception_of_dovecot("A/*:ignore") == QuotaException(("A", "*"), ignored=True)


def test_warnings() -> None:
    assert quota_warning("80:/bin/full 80 %u") == QuotaWarning(80, False, ("/bin/full", "80", "%u"))
    assert quota_warning("under 95%: /bin/full 'a b'") == QuotaWarning(95, True, ("/bin/full", "a b"))
    assert quota_warning("100:x 50%% %n@%d").command == ("x", "50%%", "%n@%d")
    assert quota_warning(QuotaWarning(1, True, ("x",))) == QuotaWarning(1, True, ("x",))


@pytest.mark.parametrize(
    ("read", "written"),
    [
        *((size_or_percent, each) for each in ("101%", "-1%", "%", "many", "-5", True, None)),
        *(
            (group_quota, each)
            for each in (
                *("", "staff", "staff:", ":storage=1G", "a,b:storage=1G", "s:storage", "s:storage=-1", "s:x=1", 7),
                *("s:storage=1G,storage=2G", "s:messages=1.5", "s:messages=" + "9" * 30),
            )
        ),
        *(
            (quota_exception, each)
            for each in (
                *("", "Trash", "Trash:", ":ignore", "Trash:ignored", "Trash:storage=-1M", "Trash:storage=+", 7),
                *("*:ignore", "*/a:ignore", "a*:ignore", "a//b:ignore", "../x:ignore", "INBOX/a:ignore"),
                *("Trash:storage=+1M,storage=+5%", "Trash:messages=+1000000%", "T:storage=" + "9" * 30),
            )
        ),
        *(
            (exception_of_dovecot, each)
            for each in (
                "",
                "Trash",
                "Trash:",
                "*:ignore",
                "?:ignore",
                ":ignore",
                "Trash:noenforcing",
                "Trash:storage=x",
            )
        ),
        *(
            (quota_warning, each)
            for each in (
                *("", "80", "80:", ":x", "0:x", "101:x", "-5:x", "1000:x", "80.5:x", "above 80:x", "under80:x", 80),
                *("80:x '", "80:x %s", "80:x %"),
            )
        ),
    ],
)
def test_values_that_are_none(read: Callable[[object], object], written: object) -> None:
    with pytest.raises(ValueError, match=r"must|may|says|has|names"):
        read(written)
