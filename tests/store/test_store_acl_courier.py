"""Courier's access rights made into ours: the same where they can be, and never more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import StoreError
from maildir_imapd.store.records.acl import ALL, render
from maildir_imapd.store.records.acl_courier import FILE, converted, read

ALL_OF_COURIER = "aceilrstwx"


def text(data: str, owner: str = "ann") -> str:
    made, _ = converted(data.encode(), owner)
    return render(made).decode()


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("owner aceilrstwx\nadministrators aceilrstwx\n", ""),
        ("owner aceilrstwx\nuser=bob lr\n", "user=bob lr\n"),
        ("owner aceilrstwx\nuser=bob clr\n", "user=bob lrk\n"),
        ("owner aceilrstwx\nuser=bob lrd\n", "user=bob lrte\n"),
        ("owner aceilrstwx\nanyone l\nuser=bob r\ngroup=g s\n", "anyone l\nuser=bob lr\ngroup=g ls\n"),
        (
            "owner aceilrstwx\nuser=bob lr\n-user=bob r\n-anyone s\n",
            "owner lrwtiekxa\nuser=bob lr\n-user=bob rs\n-anyone s\n",
        ),
        ("owner aceilrstwx\n-group=g r\n-user=bob s\n", "-group=g r\n-user=bob rs\n"),
        ("owner alr\n", "owner lra\n"),
        ("owner aceilrstwx\n-owner w\n", "owner lrstiekxa\n"),
        ("owner aceilrstwx\n-anyone w\n", "owner lrstiekxa\n-anyone w\n"),
        ("user=ann lrs\nuser=bob l\n", "owner lrsa\nuser=bob l\n"),
        ("group=administrators l\n-administrators l\nowner aceilrstwx\n", ""),
        ("user=bob l\nuser=bob  lr\r\nowner aceilrstwx", "user=bob lr\n"),
        ("", ""),
        ("\n\nadministrators aceilrstwx\n", ""),
        ("anyone \n", "owner la\nanyone \n"),
    ],
)
def test_what_becomes_of_a_list(theirs: str, ours: str) -> None:
    assert text(theirs) == ours


def test_lines_that_mean_nobody_are_named() -> None:
    data = b"bob lr\nuser= lr\nauthenticated lr\nuser=b\xff l\nuser=cyd lrZ\nowner aceilrstwx\nvendor=x l\n"
    made, left = converted(data, "ann")
    assert render(made) == b"user=cyd lr\n"
    assert left == ("bob lr", "user= lr", "authenticated lr", "user=b\\xff l", "user=cyd lrZ", "vendor=x l")


NAMES = ("owner", "anyone", "user=ann", "user=bob", "user=cyd", "group=ga", "group=gb")
LINES = st.lists(st.tuples(st.booleans(), st.sampled_from(NAMES), st.sets(st.sampled_from(ALL_OF_COURIER))), max_size=8)


def couriers(lines: dict[tuple[bool, str], set[str]], user: str, groups: tuple[str, ...]) -> frozenset[str]:
    """The rights as Courier works them out."""
    mine = {"anyone", f"user={user}", *(f"group={group}" for group in groups), *(["owner"] if user == "ann" else [])}
    rights: set[str] = set()
    for negative in (False, True):
        for (minus, name), letters in lines.items():
            if minus is negative and name in mine:
                rights = rights - letters if negative else rights | letters
    if user == "ann":
        rights.add("a")
    return frozenset("k" if letter == "c" else letter for letter in rights)


@given(LINES, st.sampled_from(["bob", "cyd", "joe"]), st.sampled_from([(), ("ga",), ("gb",), ("ga", "gb")]))
def test_nobody_has_more_than_he_had(
    lines: list[tuple[bool, str, set[str]]], user: str, groups: tuple[str, ...]
) -> None:
    known = {(minus, name): letters for minus, name, letters in lines}
    data = "".join(f"{'-' * minus}{name} {''.join(sorted(letters))}\n" for (minus, name), letters in known.items())
    made, left = converted(data.encode(), "ann")
    assert left == ()
    ours = made.rights(user, groups, owner=False)
    theirs = couriers(known, user, groups)
    assert ours <= theirs
    if not any(name.startswith("group=") for _, name in known):
        assert ours == theirs
    own = made.rights("ann", owner=True)
    had = couriers(known, "ann", ())
    assert own == had | {"l"} or (own == ALL and (had >= ALL - {"p"} or not known))


@given(st.binary(max_size=200))
def test_any_octets(data: bytes) -> None:
    made, _ = converted(data, "ann")
    assert made.sound


def test_where_there_is_none(tmp_path: Path) -> None:
    assert read(bytes(tmp_path)) is None
    assert read(bytes(tmp_path / "none")) is None
    os.mkfifo(tmp_path / FILE.decode())
    with pytest.raises(StoreError):
        read(bytes(tmp_path))
