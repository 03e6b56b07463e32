"""How many octets line ends add to a message on its way: a Maildir file has LF, CRLF or both, IMAP has CRLF."""

from __future__ import annotations


def bare(raw: bytes, *, after_cr: bool = False) -> int:
    """Count the LF of a piece that have no CR before them; *after_cr*: whether one stands before the piece."""
    count = raw.count(b"\n")
    if count and b"\r" in raw:
        count -= raw.count(b"\r\n")
    return count - (after_cr and raw.startswith(b"\n"))
