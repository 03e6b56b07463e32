"""Binary parts made fit for a file of text lines: base64 in place of binary (RFC 3516 4.4: a server may)."""

from __future__ import annotations

import binascii
import re

from maildir_imapd.message import mime

# What does not come back as it was from where lines are kept with LF, and lines longer than RFC 5322 2.1.1 has them.
_NO_TEXT = re.compile(rb"\0|(?<!\r)\n|\r(?!\n)|[^\r\n]{999}").search
_ENCODING = re.compile(rb"^(content-transfer-encoding[ \t]*:)[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
# Octets that give a line of 76 (RFC 2045 6.8).
_ROW_OCTETS = 57


def without_binary(data: bytes) -> bytes:
    """Give the message with each part that is binary, and says so, in base64; all else stays as it is.

    *data* has CRLF for line ends, or what the parts hold.  A NUL outside of such a part stays, too.
    """
    out = []
    at = 0
    for part in mime.parse(data).leaves():
        body = data[part.body_start : part.end]
        if part.encoding.lower() == b"binary" and _NO_TEXT(body):
            header = data[part.header_start : part.body_start]
            out += [data[at : part.header_start], _ENCODING.sub(rb"\1 base64\r\n", header, count=1), _base64(body)]
            at = part.end
    return b"".join([*out, data[at:]])


def _base64(body: bytes) -> bytes:
    rows = [binascii.b2a_base64(body[n : n + _ROW_OCTETS], newline=False) for n in range(0, len(body), _ROW_OCTETS)]
    return b"\r\n".join(rows) + b"\r\n"
