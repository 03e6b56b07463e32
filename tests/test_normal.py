"""Normalization of text from outside (rule H1; UAX 15, Stream-Safe Text Format)."""

from __future__ import annotations

import random
import sys
import unicodedata

import pytest
from growth import demand_linear

from maildir_imapd import normal
from maildir_imapd.message import text

MARKS = "\u0315\u0300"
SAMPLES = [
    "",
    "plain",
    "Grüße aus Köln",
    unicodedata.normalize("NFD", "Tiếng Việt"),
    "नमस्ते दुनिया",
    "שָׁלוֹם עֲלֵיכֶם",
    "한국어 각",
    "你好",
    "🎉" * 40,
    "a" + MARKS * 5,
    "\U0001d15e\U0001d165" * 20,
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_ordinary_text_is_normalized_as_ever(sample: str) -> None:
    assert normal.decomposed(sample) == unicodedata.normalize("NFKD", sample)
    assert normal.composed(sample) == unicodedata.normalize("NFC", sample)
    assert normal.is_composed(sample) == unicodedata.is_normalized("NFC", sample)
    long = sample * 20
    assert "".join(normal.windows(long, 31)) == long
    assert "".join(map(normal.decomposed, normal.windows(long, 31))) == normal.decomposed(long)


def test_every_mark_is_known() -> None:
    """The expression is made for the marks up to U+FFFF, and for plane 1 as a whole."""
    missing = [
        char
        for char in map(chr, range(sys.maxunicode + 1))
        if normal._is_mark(char) and not normal._runs()[1](char * normal._LOOK_FROM)
    ]
    assert missing == []
    most = max(len(unicodedata.normalize("NFKD", chr(c))) for c in range(sys.maxunicode + 1) if normal._is_mark(chr(c)))
    assert most <= 2


def longest_run(decomposed: str) -> int:
    longest = run = 0
    for char in decomposed:
        run = run + 1 if unicodedata.combining(char) else 0
        longest = max(longest, run)
    return longest


@pytest.mark.parametrize("unit", [MARKS, "\u0344", "\u0f73", "\uff9e\u0315", "\u1e69\u0323\u0307", "\U0001e8d0\u0315"])
def test_no_run_is_longer_than_thirty(unit: str) -> None:
    for size in (10, 15, 29, 30, 31, 200):
        sample = "a" + unit * size + "b"
        broken = normal.bounded(sample)
        assert longest_run(unicodedata.normalize("NFKD", broken)) <= normal.LIMIT
        assert broken.replace(normal.JOINER, "") == sample
        assert normal.bounded(broken) == broken


def test_random_marks() -> None:
    chance = random.Random(1)
    for _ in range(300):
        sample = "".join(chance.choices("aế\u0300\u0315\u0344\u0f73\uff9e🎉", [1, 1, 9, 9, 5, 3, 3, 1], k=80))
        assert longest_run(unicodedata.normalize("NFKD", normal.bounded(sample))) <= normal.LIMIT
        assert normal.bounded(normal.bounded(sample)) == normal.bounded(sample)
        assert "".join(normal.windows(sample, 7)) == sample


@pytest.mark.long
@pytest.mark.parametrize("unit", [MARKS, "\u0344\u0315", "\u0300", "\ufdfa", "\uff9e\u0315"])
@pytest.mark.parametrize(
    "function",
    [
        normal.bounded,
        normal.decomposed,
        normal.composed,
        normal.is_composed,
        text.fold,
        lambda value: text.folded_contains(value, "NEEDLE"),
    ],
    ids=["bounded", "decomposed", "composed", "is_composed", "fold", "folded_contains"],
)
def test_marks_without_end_cost_what_they_are_long(function: object, unit: str) -> None:
    assert callable(function)
    demand_linear(function, lambda size: "a" + unit * (size // len(unit)), repr(unit))


@pytest.mark.parametrize("needle", ["NEEDLE", "N", "", "NA\u0308DEL"])
def test_a_needle_is_found_wherever_it_lies_in_a_long_text(monkeypatch: pytest.MonkeyPatch, needle: str) -> None:
    monkeypatch.setattr(text, "_WINDOW_OCTETS", 16)
    assert not needle or not text.folded_contains("äb" * 100, needle)
    written = {"NA\u0308DEL": "nädel"}.get(needle, needle.lower())
    for at in range(100):
        assert text.folded_contains("ä" * at + written + "ö" * (100 - at), needle)


def test_one_character_that_becomes_many() -> None:
    """U+FDFA folds to 18 characters."""
    assert text.folded_contains("\ufdfa" * 200_000 + "x", "X")
    assert len(text.fold("\ufdfa")) == 18
