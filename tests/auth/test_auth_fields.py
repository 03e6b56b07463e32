"""Dovecot's extra fields, as typed values."""

from __future__ import annotations

import pytest

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Identity, QuotaLimits


def made(written: str) -> Identity:
    return fields.identity("ann", fields.words(written))


def test_what_is_not_said_is_left_to_the_settings() -> None:
    assert made("") == Identity("ann")
    assert made("x=y proxy") == Identity("ann")


def test_each_field_and_its_other_name() -> None:
    assert made("userdb_mail=maildir:~/M mail=maildir:/x").mail == "maildir:~/M"
    assert made("mail=maildir:/x").mail == "maildir:/x"
    assert made("userdb_acl_groups=team,,staff").groups == {"team", "staff"}
    assert made("acl_groups=team").groups == {"team"}
    assert made("userdb_quota_rule=*:storage=1G:messages=1000").quota == QuotaLimits(1 << 30, 1000)
    assert made("quota_rule=*:bytes=5:messages=7").quota == QuotaLimits(5, 7)


def test_whether_texts_are_indexed(caplog: pytest.LogCaptureFixture) -> None:
    assert made("").search_index is None
    assert made("userdb_search_index=yes search_index=no").search_index is True
    assert made("search_index").search_index is True
    assert made("search_index=no").search_index is False
    assert made("search_index=perhaps").search_index is None
    assert "search_index passed over" in caplog.text


def test_nologin() -> None:
    assert fields.may_log_in(fields.words("x=y"))
    assert not fields.may_log_in(fields.words("nologin"))
    assert not fields.may_log_in(fields.words("nologin=y"))


def test_a_quota_that_is_not_understood_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    assert made("userdb_quota_rule=*:storage=some").quota is None
    assert "quota passed over" in caplog.text


def test_quota_rules() -> None:
    assert fields.quota_rule("*:storage=1G:messages=1000") == QuotaLimits(1 << 30, 1000)
    assert fields.quota_rule("*:storage=100") == QuotaLimits(100 << 10)
    assert fields.quota_rule("*:bytes=100B") == QuotaLimits(100)
    assert fields.quota_rule("*:messages=0") == QuotaLimits()
    for wrong in ("", "*", "*:", "Trash:storage=1M", "*:ignore", "*:storage=10%", "*:storage=-1", "*:messages=many"):
        with pytest.raises(ValueError, match="must be"):
            fields.quota_rule(wrong)


@pytest.mark.parametrize(
    ("nets", "host", "allowed"),
    [
        ("192.0.2.0/24", "192.0.2.77", True),
        ("192.0.2.0/24", "::ffff:192.0.2.77", True),
        ("192.0.2.0/24", "198.51.100.1", False),
        ("192.0.2.1,2001:db8::/32", "2001:db8::5", True),
        ("192.0.2.1,2001:db8::/32", "2001:db9::5", False),
        ("192.0.2.1", "", False),
        ("2001:db8::/32", "fe80::1%eth0", False),
        (",", "192.0.2.1", False),
    ],
)
def test_allow_nets(nets: str, host: str, allowed: bool) -> None:
    assert made(f"allow_nets={nets}").may_come_from(host) is allowed
    assert made("").may_come_from(host)


@pytest.mark.parametrize("nets", ["secret", "192.0.2.0/99", "yes"])
def test_networks_that_are_none(nets: str) -> None:
    with pytest.raises(ValueError, match="list of networks") as caught:
        made(f"allow_nets={nets}")
    assert "secret" not in str(caught.value)


def test_homes_and_limits_where_no_place_is_theirs() -> None:
    found = made("home=/h userdb_home=/u uid=1000 gid=100 connections=7")
    assert (found.home, found.uid, found.gid, found.connections) == ("/u", 1000, 100, 7)
    assert made("uid=root userdb_gid=root") == Identity("ann", uid=0, gid=0)
    given = fields.identity("ann", fields.words("home=/h uid=1 gid=2"), home="/own", uid=5, gid=6)
    assert (given.home, given.uid, given.gid) == ("/own", 5, 6)
    for wrong in ("uid=secret", "gid=secret", "uid=4294967295", "uid=-1"):
        with pytest.raises(ValueError, match="of this machine") as caught:
            made(wrong)
        assert "secret" not in str(caught.value)


def test_a_number_of_connections_that_is_none(caplog: pytest.LogCaptureFixture) -> None:
    assert made("connections=many").connections is None
    assert "connections passed over" in caplog.text
    assert made("connections=0").connections == 0


@pytest.mark.parametrize(
    ("written", "event"),
    [
        ("keep_expunged=soon", "keep_expunged passed over"),
        ("private_seen=perhaps", "private_seen passed over"),
        ("connections=many", "connections passed over"),
        ("quota_storage=much", "quota passed over"),
        ("quota_messages=-1", "quota passed over"),
        ("quota_rule=*:storage=much", "quota passed over"),
        ("quota_rule2=Trash:storage=much", "quota passed over"),
    ],
)
def test_what_cannot_be_understood_is_passed_over(written: str, event: str, caplog: pytest.LogCaptureFixture) -> None:
    found = made(f"userdb_{written}")
    assert event in caplog.text
    assert (found.keep_expunged, found.connections, found.quota_exceptions or ()) == (None, None, ())
