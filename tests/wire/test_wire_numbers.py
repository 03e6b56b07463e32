"""Sequence sets: what is one, what it means, how it is written."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import BadSyntax
from maildir_imapd.wire.numbers import (
    LARGEST,
    STAR,
    NumberSet,
    merge,
    parse_number_set,
    render_in_order,
    render_ranges,
    render_set,
    to_ranges,
)

GOOD = [
    (b"1", ((1, 1),)),
    (b"4294967295", ((LARGEST, LARGEST),)),
    (b"*", ((STAR, STAR),)),
    (b"1:*", ((1, STAR),)),
    (b"*:1", ((STAR, 1),)),
    (b"*:*", ((STAR, STAR),)),
    (b"4:2", ((4, 2),)),
    (b"2,4:7,9,12:*", ((2, 2), (4, 7), (9, 9), (12, STAR))),
    (b"5,5,1", ((5, 5), (5, 5), (1, 1))),
]

BAD = [
    b"",
    b"0",
    b"01",
    b"0:1",
    b"1:",
    b":1",
    b":",
    b"1:2:3",
    b",",
    b"1,",
    b",1",
    b"1,,2",
    b"1:0",
    b"**",
    b"1*",
    b"4294967296",
    b"12345678901",
    b"9" * 5000,
    b"1:" + b"9" * 5000,
    b"$,1",
    b"1,$",
    b"$$",
    b"$:1",
    b"-1",
    b"+1",
    b"1_0",
    b" 1",
    b"1 ",
    "\u0661".encode(),
]


@pytest.mark.parametrize(("data", "ranges"), GOOD)
def test_good(data: bytes, ranges: tuple[tuple[int, int], ...]) -> None:
    assert parse_number_set(data) == NumberSet(ranges)


def test_saved() -> None:
    assert parse_number_set(b"$") == NumberSet((), saved=True)


@pytest.mark.parametrize("data", BAD)
def test_bad(data: bytes) -> None:
    with pytest.raises(BadSyntax):
        parse_number_set(data)


def test_error_names_the_place() -> None:
    with pytest.raises(BadSyntax) as caught:
        parse_number_set(b"12,3:x,5")
    assert caught.value.position == 5


@pytest.mark.parametrize(
    ("data", "largest", "expected"),
    [
        (b"2,4:7,9,12:*", 15, [(2, 2), (4, 7), (9, 9), (12, 15)]),
        (b"*:4,5:7", 10, [(4, 10)]),
        # RFC 3501 section 9: 3291:* includes the last message even if its UID is less.
        (b"3291:*", 100, [(100, 3291)]),
        (b"*", 7, [(7, 7)]),
        (b"*", 0, []),
        (b"1:*", 0, []),
        (b"*,3", 0, [(3, 3)]),
        (b"4:2", 3, [(2, 4)]),
        (b"1,2,3", 3, [(1, 3)]),
        (b"3,1,2,9", 9, [(1, 3), (9, 9)]),
        (b"1:4294967295", 3, [(1, LARGEST)]),
    ],
)
def test_resolve(data: bytes, largest: int, expected: list[tuple[int, int]]) -> None:
    assert parse_number_set(data).resolve(largest) == expected


@pytest.mark.parametrize(("data", "expected"), [(b"*", True), (b"1,2:*", True), (b"*:2", True), (b"1:2,5", False)])
def test_contains_star(data: bytes, expected: bool) -> None:
    assert parse_number_set(data).contains_star() is expected


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], b""),
        ([1], b"1"),
        ([1, 2], b"1:2"),
        ([1, 2, 3, 7], b"1:3,7"),
        ([1, 3, 5], b"1,3,5"),
        (range(5, 100), b"5:99"),
        (iter([1, 2, 4]), b"1:2,4"),
    ],
)
def test_render_set(numbers: list[int], expected: bytes) -> None:
    assert render_set(numbers) == expected


def test_render_ranges_keeps_order() -> None:
    assert render_ranges([(7, 9), (1, 1)]) == b"7:9,1"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([], b""),
        ([1, 2, 3], b"1:3"),
        ([3, 2, 1], b"3,2,1"),
        ([5, 6, 1, 2, 9], b"5:6,1:2,9"),
        ([1, 3, 2, 4], b"1,3,2,4"),
    ],
)
def test_render_in_order(numbers: list[int], expected: bytes) -> None:
    assert render_in_order(numbers) == expected


numbers = st.integers(1, 60)


@given(st.sets(numbers, min_size=1))
def test_render_then_parse(chosen: set[int]) -> None:
    pairs = parse_number_set(render_set(sorted(chosen))).resolve(60)
    assert [n for low, high in pairs for n in range(low, high + 1)] == sorted(chosen)
    assert pairs == to_ranges(sorted(chosen))


@given(st.lists(st.tuples(numbers | st.just(STAR), numbers | st.just(STAR)), min_size=1), st.integers(1, 60))
def test_resolve_is_the_union(ranges: list[tuple[int, int]], largest: int) -> None:
    expected = set()
    for first, last in ranges:
        low, high = sorted((first or largest, last or largest))
        expected |= set(range(low, high + 1))
    pairs = NumberSet(tuple(ranges)).resolve(largest)
    assert {n for low, high in pairs for n in range(low, high + 1)} == expected
    assert all(high + 1 < low for (_, high), (low, _) in pairwise(pairs))


@given(st.lists(st.tuples(st.integers(0, LARGEST), st.integers(0, LARGEST)), min_size=1))
def test_any_set_round_trips(ranges: list[tuple[int, int]]) -> None:
    text = b",".join(b"%b:%b" % tuple(b"%d" % n if n else b"*" for n in pair) for pair in ranges)
    assert parse_number_set(text).ranges == tuple(ranges)


def test_wide_ranges_cost_nothing() -> None:
    assert merge([(1, LARGEST)] * 1000) == [(1, LARGEST)]


def test_a_set_of_a_mebibyte() -> None:
    text = b",".join(b"%d" % number for number in range(2, 300_000, 2))
    assert len(text) > 1 << 19
    assert len(parse_number_set(text).resolve(1)) == 149_999
