"""Superfluous blanks in a command."""

from __future__ import annotations

import re

_PIECES = re.compile(rb'"(?:[^"\\]|\\.)*"|~?\{([0-9]+)\+?\}\r?\n|.', re.DOTALL)
_PUT = {b" ": b"   ", b"(": b"(  ", b")": b" )"}


def spread(text: bytes) -> bytes:
    """Put blanks wherever a command may have more of them, and nowhere else: not into strings and literals."""
    out = []
    pos = 0
    while pos < len(text):
        piece = _PIECES.match(text, pos)
        assert piece is not None
        pos = piece.end() + int(piece[1] or 0)
        out.append(_PUT.get(piece[0], text[piece.start() : pos]))
    return b"".join(out) + b"  "
