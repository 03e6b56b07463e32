"""Names of users, before anybody is asked who has them."""

from __future__ import annotations

import pytest

from maildir_imapd.auth.names import Spelling, filled, valid_user, variables


@pytest.mark.parametrize("name", ["ann", "ann@example.org", "Ann.B+c", "müller", "a&b", "o'hara", "7", "a@b@c"])
def test_good_names(name: str) -> None:
    assert valid_user(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".a",
        "a/b",
        "../a",
        "a\0",
        "a\n",
        "a@..",
        "a@.b",
        "@b",
        "a@",
        "a@@b",
        "a%n",
        "a b",
        "~root",
        "x" * 256,
    ],
)
def test_names_that_could_lead_elsewhere(name: str) -> None:
    assert not valid_user(name)


def test_variables_are_filled_in() -> None:
    assert filled("/etc/%d/%n/%u/100%%", "Ann@Example.org") == "/etc/Example.org/Ann/Ann@Example.org/100%"
    assert filled("%Lu %Ln %Ld", "Ann@Example.org") == "ann@example.org ann example.org"
    assert filled("%d", "ann") == ""
    assert variables("/etc/%d/%Ln/100%%") == {"d", "n"}
    for wrong in ("%h", "%", "%L", "%LLu", "%L%"):
        with pytest.raises(ValueError, match="variables"):
            filled(wrong, "ann")


@pytest.mark.parametrize(
    ("realm", "form", "shown", "spelled"),
    [
        ("", "", "Ann", "Ann"),
        ("example.org", "", "Ann", "Ann@example.org"),
        ("example.org", "", "ann@example.net", "ann@example.net"),
        ("", "%Lu", "Ann@Example.ORG", "ann@example.org"),
        ("", "%n", "Ann@Example.ORG", "Ann"),
        ("example.org", "%Ln", "Ann", "ann"),
        ("example.org", "%Lu", "../Ann", "../Ann"),
        ("example.org", "%Lu", "", ""),
        ("example.org", "%Lu", "a%n", "a%n"),
    ],
)
def test_how_a_name_is_spelled(realm: str, form: str, shown: str, spelled: str) -> None:
    assert Spelling(realm, form).of(shown) == spelled
