"""The setting namespaces: what is read, and what cannot be."""

from __future__ import annotations

import pytest

from maildir_imapd.errors import ConfigError
from maildir_imapd.namespace_rules import NamespaceRule, check, namespace_rule, prefixes

OTHERS = "shared/%u/: type=others"
PUBLIC = "Public/: type=public, location=maildir:/srv/mail/public"


def test_what_is_read() -> None:
    rule = namespace_rule("Public/News/:type=public, location=maildir:/srv/a,,b:INDEX=/var/x, rights=lrs, list=yes")
    assert rule == NamespaceRule(
        ("Public", "News"), "public", "maildir:/srv/a,b:INDEX=/var/x", list="yes", rights=frozenset("lrs")
    )
    assert namespace_rule(rule) is rule
    assert namespace_rule("shared/%u: type=others, inbox=named").fixed == ("shared",)
    assert namespace_rule("Deleted: type=deleted").levels == ("Deleted",)
    assert prefixes([namespace_rule(OTHERS), namespace_rule("A/B/: type=deleted")], ".") == ("shared.", "A.B.")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("shared/%u/", "must be PREFIX"),
        ("shared/%u/:", "must be PREFIX"),
        (": type=others", "empty prefix"),
        ("a//b: type=deleted", "empty level"),
        ("a*: type=deleted", "no mailbox can be below"),
        ("a%z: type=deleted", "no mailbox can be below"),
        ("a/: list=yes", "does not say the type"),
        ("a/: type=other", "must be one of"),
        ("a/: type=deleted, type=deleted", "says type twice"),
        ("a/: type=deleted, colour=red", "none of"),
        ("a/: type=virtual, location=maildir:/srv/x", "virtual:PATH"),
        ("a/: type=virtual, location=virtual:relative", "absolute path"),
        ("a/: type=virtual, rights=lr", "whose rights count"),
        ("a/: type=public, location=virtual:/srv/x", "virtual:PATH"),
        ("a/: type=personal, location=maildir:/srv/x, private_seen=yes", "his own anyhow"),
        ("a/: type=public, location=maildir:/srv/x, private_seen=perhaps", "must be one of"),
        ("a/: type=deleted, rights=lr", "says nothing"),
        ("a/: type=public", "must say where its mail is"),
        ("a/: type=public, location=mbox:/x", "must be maildir:PATH"),
        ("a/: type=public, location=maildir:/x, rights=lrq", "must be letters"),
        ("a/%u/: type=public, location=maildir:/x", "type=others alone"),
        ("a/: type=personal, location=maildir:~/x, rights=lr", "has all rights"),
        ("shared/: type=others", "must end in one level"),
        ("%u/: type=others", "must have a level before"),
        ("shared/%d/: type=others", "must have a level before"),
        ("shared/%u/x/: type=others", "must end in one level"),
        ("shared/%d/%n/: type=others", "must end in one level"),
        ("shared/x%u/: type=others", "must end in one level"),
        ("shared/%u/: type=others, rights=lr", "lists say the rights"),
        ("shared/%u/: type=others, subscriptions=there", "the user's own there"),
    ],
)
def test_what_cannot_be(written: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        namespace_rule(written)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ([PUBLIC, "Public: type=deleted"], "the same names"),
        ([OTHERS, "shared/: type=deleted"], "the same names"),
        ([OTHERS, "shared/team/: type=public, location=maildir:/x"], "a user of that name"),
        ([PUBLIC, "Other: type=public, location=maildir:/srv/mail/public"], "the same location"),
    ],
)
def test_namespaces_that_stand_in_each_other_s_way(rules: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check([namespace_rule(rule) for rule in rules], acl=True)


def test_without_lists_nobody_shares() -> None:
    with pytest.raises(ConfigError, match="acl = false"):
        check([namespace_rule(OTHERS)], acl=False)
    check([namespace_rule(PUBLIC)], acl=False)
    check([namespace_rule(OTHERS), namespace_rule(PUBLIC), namespace_rule("Public/Own: type=deleted")], acl=True)
