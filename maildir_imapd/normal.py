"""Unicode normalization of text from outside: the one place that calls ``unicodedata`` for it.

A leaf beside errors.py, for ``message`` (folding), ``imap`` and ``store`` (mailbox names) need it.

``unicodedata`` sorts a run of combining marks by insertion, in one call that holds the interpreter's lock: 500 KB of
marks take minutes, in which no thread of the process does anything.  So runs are bounded first, as UAX 15 has it
("Stream-Safe Text Format": at most 30 non-starters, then U+034F COMBINING GRAPHEME JOINER).  No language needs
more than a handful.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache

LIMIT = 30
JOINER = "\N{COMBINING GRAPHEME JOINER}"

# Shorter runs stay within the limit whatever they decompose to: twice as many marks at most, behind at most three
# that the character before them ends in.
_LOOK_FROM = 12


def _is_mark(char: str) -> bool:
    """Whether a character is a non-starter, or decomposes into characters that begin with one."""
    return bool(
        unicodedata.combining(char)
        or (unicodedata.decomposition(char) and unicodedata.combining(unicodedata.normalize("NFKD", char)[0]))
    )


def _ranges(codes: Iterable[int]) -> str:
    """Write code points, ascending, as ranges of an expression: single ones above U+FFFF make it slow."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


@cache
def _runs() -> tuple[re.Pattern[str], Callable[[str], object]]:
    """Return what finds runs with the character before each, and what says whether there is one.

    Made when the first text needs them: to look at each code point takes longer than many a command.
    """
    # All of plane 1 stands for the marks in it, which would make the search slow; there are none beyond.
    mark = f"[{_ranges(code for code in range(0x300, 0x10000) if _is_mark(chr(code)))}\U00010000-\U0001ffff]"
    run = re.compile(f".?{mark}{{{_LOOK_FROM},}}", re.DOTALL)
    # It begins with the class alone, which the engine looks for in a quick loop.
    return run, re.compile(f"{mark}{mark}{{{_LOOK_FROM - 1},}}").search


def load() -> None:
    """Make what is made late, for a process that will have many texts."""
    _runs()


def bounded(text: str) -> str:
    """Break runs of combining marks, so that normalizing *text* is linear; text without long runs stays itself."""
    if len(text) < _LOOK_FROM:
        return text
    try:
        text.encode("latin-1")  # the quickest way to know that there are no marks
    except UnicodeEncodeError:
        run, has_run = _runs()
        return run.sub(_broken, text) if has_run(text) else text
    return text


def _broken(run: re.Match[str]) -> str:
    """Apply UAX 15, "Stream-Safe Text Process", to one run with the character before it."""
    out = []
    marks = 0
    for char in run[0]:
        classes = [unicodedata.combining(part) for part in unicodedata.normalize("NFKD", char)]
        leading = next((n for n, kind in enumerate(classes) if not kind), len(classes))
        if marks + leading > LIMIT:
            out.append(JOINER)
            marks = 0
        out.append(char)
        if leading == len(classes):
            marks += leading
        else:
            marks = next((n for n, kind in enumerate(reversed(classes)) if not kind), 0)
    return "".join(out)


def decomposed(text: str) -> str:
    """Give *text* in Normalization Form KD."""
    # This looks at each character once and no more; most text that is not ASCII is in this form already.
    if unicodedata.is_normalized("NFKD", text):
        return text
    return unicodedata.normalize("NFKD", bounded(text))


def composed(text: str) -> str:
    """Give *text* in Normalization Form C."""
    return unicodedata.normalize("NFC", bounded(text))


def is_composed(text: str) -> bool:
    """Tell whether ``composed`` leaves *text* as it is."""
    # is_normalized alone may normalize to find out.
    return composed(text) == text


def cut(text: str, size: int) -> str:
    """Give the beginning of *text*: *size* characters, or a few more, so that it does not end before a mark."""
    end = size
    while end < min(len(text), size + LIMIT) and _is_mark(text[end]):
        end += 1
    return text[:end]


def apart(pieces: Iterable[str]) -> Iterator[str]:
    """Give the pieces of a text so that none begins with a mark, which belongs to what is before it."""
    rest = ""
    for piece in pieces:
        text = rest + piece
        end = len(text) - 1
        while end > 0 and len(text) - end <= LIMIT and _is_mark(text[end]):
            end -= 1
        yield text[: max(end, 0)]
        rest = text[max(end, 0) :]
    yield rest


def windows(text: str, size: int) -> Iterator[str]:
    """Cut *text* into pieces of about *size* characters that may be decomposed and joined: none begins with a mark."""
    start = 0
    while len(text) - start > 2 * size:
        end = start + size
        # A run that goes on for longer is broken in two anyway.
        while end < start + 2 * size and _is_mark(text[end]):
            end += 1
        yield text[start:end]
        start = end
    yield text[start:]
