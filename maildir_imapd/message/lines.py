"""Line ends: a Maildir file has LF, CRLF or both; IMAP counts and sends CRLF.

Everything else in this package works on the CRLF form, so that sizes, offsets and partial fetches agree.
A lone CR is an octet like any other (RFC 5322 2.3 forbids it, mail has it, and changing it would change
what a signature signs).
"""

from __future__ import annotations


def to_crlf(raw: bytes) -> bytes:
    """Give every line its CRLF; a file that has them already is returned as it is, without a copy."""
    if b"\r" not in raw:
        return raw.replace(b"\n", b"\r\n")
    if raw.count(b"\n") == raw.count(b"\r\n"):
        return raw
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
