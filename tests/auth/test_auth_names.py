"""Names of users, before anybody is asked who has them."""

from __future__ import annotations

import pytest

from maildir_imapd.auth.names import valid_user


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
