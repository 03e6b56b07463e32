"""One answer for all users."""

from __future__ import annotations

import pytest

from maildir_imapd.auth.base import Identity
from maildir_imapd.auth.static import Static
from maildir_imapd.errors import ConfigError


def test_everybody_is_known_by_a_template() -> None:
    users = Static({"home": "/srv/%Ld/%n", "uid": "1000", "gid": "100", "mail": "maildir:~/%u"})
    found = users.look_up("Ann@Example.org")
    assert found is not None
    expected = Identity("Ann@Example.org", home="/srv/example.org/Ann", uid=1000, gid=100, mail="maildir:~/%u")
    assert found.identity == expected
    assert list(users.users()) == []


@pytest.mark.parametrize("name", ["", "../ann", "a/b", "ann@..", "a%n", "a\0", "*"])
def test_but_nobody_whose_name_leads_elsewhere(name: str) -> None:
    assert Static({"home": "/srv/%n"}).look_up(name) is None


@pytest.mark.parametrize("said", [{"uid": "no such user"}, {"gid": "no such group"}, {"home": "%h"}])
def test_what_can_be_said_of_nobody(said: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="auth_static"):
        Static(said)


def test_all_may_be_locked_out() -> None:
    found = Static({"home": "/srv/%n", "nologin": "yes"}).look_up("ann")
    assert found is not None
    assert not found.may_log_in
