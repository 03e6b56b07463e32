"""File names: flags, identity, sizes, order."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.store.maildir import filename
from maildir_imapd.store.maildir.filename import ANSWERED, DELETED, DRAFT, FLAGGED, IN_NEW, RECENT, SEEN


@pytest.mark.parametrize(
    ("name", "base", "bits", "tail", "canonical"),
    [
        (b"1.M2P3.h:2,", b"1.M2P3.h", 0, b"", True),
        (b"1.M2P3.h:2,DFRST", b"1.M2P3.h", DRAFT | FLAGGED | ANSWERED | SEEN | DELETED, b"", True),
        (b"1.M2P3.h", b"1.M2P3.h", 0, b"", False),
        (b"1.h,S=3,W=4:2,SF", b"1.h,S=3,W=4", SEEN | FLAGGED, b"", False),
        (b"1.h:2,SS", b"1.h", SEEN, b"", False),
        (b"1.h:2,S,x=1", b"1.h", SEEN, b",x=1", False),
        (b"1.h:1,abc", b"1.h", 0, b"", False),
        (b"1.h:x:2,S", b"1.h", SEEN, b"", False),
        (b"1.h:2,XZab", b"1.h", 1 << 23 | 1 << 25 | 1 << 26 | 1 << 27, b"", True),
        (b":2,S", b"", SEEN, b"", True),
    ],
)
def test_take_a_name_apart(name: bytes, base: bytes, bits: int, tail: bytes, canonical: bool) -> None:
    assert filename.parse(name)[:4] == (base, bits, tail, canonical)


@given(st.integers(0, filename.INFO_BITS))
def test_flags_survive_the_name(bits: int) -> None:
    parsed = filename.parse(b"1.h" + filename.info(bits))
    assert parsed == (b"1.h", bits, b"", True, b":")


@pytest.mark.parametrize("mark", [b";", b"!"])
@given(bits=st.integers(0, filename.INFO_BITS))
def test_flags_behind_another_mark(mark: bytes, bits: int) -> None:
    assert filename.parse(b"1.h,S=5" + filename.info(bits, mark)) == (b"1.h,S=5", bits, b"", True, mark)


@pytest.mark.parametrize("name", [b"1!2,S.host", b"1.h;2,S:2,F", b"1.h;2,S,more", b"1.h;2", b"1.h;1,S", b"1.h!2,S1"])
def test_what_only_looks_like_another_mark(name: bytes) -> None:
    assert filename.parse(name).base == name.partition(b":")[0]


def test_a_folder_goes_by_the_mark_that_its_names_have() -> None:
    assert filename.mark_of([]) == b":"
    assert filename.mark_of([b"1.h", b"2.h;2,S", b"3.h;2,"]) == b";"
    assert filename.mark_of([b"1.h!2,", b"2.h:2,S"]) == b":"


def test_bits_without_a_letter_are_not_in_the_name() -> None:
    assert filename.info(SEEN | RECENT | filename.keyword_bit(30)) == b":2,S"


def test_a_message_in_new_has_no_info() -> None:
    assert filename.render(b"1.h", IN_NEW | RECENT) == b"new/1.h"
    assert filename.render(b"1.h", SEEN) == b"cur/1.h:2,S"


def test_every_keyword_has_a_bit_of_its_own() -> None:
    bits = [filename.keyword_bit(n) for n in range(filename.IN_BITS)]
    assert len(set(bits)) == 36
    assert all(bit & filename.KEYWORD_BITS and not bit & (bit - 1) for bit in bits)
    assert filename.keyword_bit(0) == 1 << 26
    assert filename.keyword_bit(36) == 0


def test_letters_and_bits_agree_with_their_names() -> None:
    assert filename.parse(b"x:2,S").bits == SEEN
    assert filename.parse(b"x:2,T").bits == DELETED
    assert filename.parse(b"x:2,R").bits == ANSWERED
    assert filename.parse(b"x:2,a").bits == filename.keyword_bit(0)


@pytest.mark.parametrize("name", [b".hidden", b"a\nb", b"a\rb", b".nfs0001"])
def test_what_is_no_message(name: bytes) -> None:
    assert not filename.usable(name)


@pytest.mark.parametrize(
    ("base", "on_disk", "size"),
    [
        (b"1.h,S=10,W=12", 10, 12),
        (b"1.h,S=10,W=12", 11, filename.SIZE_UNKNOWN),  # S= lies, so W= is not believed either
        (b"1.h,W=12,S=10", 10, 12),
        (b"1.h,S=10,W=12,U=3", 10, 12),
        (b"1.h,W=12", 12, filename.SIZE_UNKNOWN),
        (b"1.h", 3, filename.SIZE_UNKNOWN),
        (b"1.h,S=x,W=12", 10, filename.SIZE_UNKNOWN),
        (b"1.h,S=10,W=20", 10, 20),
        (b"1.h,S=10,W=21", 10, filename.SIZE_UNKNOWN),  # no line end makes three octets of one
        (b"1.h,W=9,S=10", 10, filename.SIZE_UNKNOWN),
        (b"1.h,S=10,W=999999999999999", 10, filename.SIZE_UNKNOWN),
    ],
)
def test_sizes_are_believed_when_they_agree(base: bytes, on_disk: int, size: int) -> None:
    assert filename.known_size(base, on_disk) == size


@given(
    st.lists(st.sampled_from([b",S=10", b",S=010", b",S=1", b",W=12", b",W=", b",W=1" + 15 * b"0", b",U=3", b"x"])),
    st.sampled_from([1, 10]),
)
def test_sizes_are_found_quickly_where_the_expression_finds_them(marks: list[bytes], on_disk: int) -> None:
    base = b"1.h" + b"".join(marks)
    pairs = re.findall(rb",S=([0-9]{1,15}),W=([0-9]{1,15})(?=,|\Z)", base)
    if pairs:
        size = int(pairs[-1][1]) if int(pairs[-1][0]) == on_disk else filename.SIZE_UNKNOWN
        assert filename.known_size(base, on_disk) == size


@given(
    st.lists(
        st.builds(
            b"".join,
            st.tuples(
                st.sampled_from([b"1732320000", b"1732320001", b"173232000", b"17323200011", b"", b"x"]),
                st.sampled_from([b".M9P1", b".M10P1", b".10_1", b"M5", b":", b""]),
                st.sampled_from([b".h", b".g:2,S", b"", b"."]),
            ),
        ).filter(bool),
        unique=True,
    )
)
def test_many_are_sorted_as_one_by_one(names: list[bytes]) -> None:
    assert filename.in_arrival_order(names) == sorted(names, key=filename.arrival)


def test_order_of_arrival_is_dovecots() -> None:
    names = [b"20.M5P1.h", b"100.M10P1.h", b"100.M9P1.h", b"msg.abc", b"100.M9P0.h:2,S", b"100.h"]
    assert sorted(names, key=filename.arrival) == [
        b"msg.abc",
        b"20.M5P1.h",
        b"100.h",
        b"100.M9P0.h:2,S",
        b"100.M9P1.h",
        b"100.M10P1.h",
    ]


def test_fresh_names_rise() -> None:
    names = [filename.unique() for _ in range(100)]
    assert sorted(names, key=filename.arrival) == names
    assert len(set(names)) == 100
    assert filename.sized(b"1.h", 3, 4) == b"1.h,S=3,W=4"
    assert filename.sized(b"1.h", None, None) == b"1.h"


@pytest.mark.parametrize("base", [b"1.M2P3.h,S=4,W=5,U=6", b"1.M2P3.h"])
def test_stem_is_what_others_leave_alone(base: bytes) -> None:
    assert filename.stem(base) == b"1.M2P3.h"


def test_a_name_has_the_process_that_made_it() -> None:
    """Which is asked for once; a worker is made of one that has been asked."""
    assert b"P%d." % os.getpid() in filename.unique()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, filename.unique())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        assert b"P%d." % child in said.read()
    os.waitpid(child, 0)
