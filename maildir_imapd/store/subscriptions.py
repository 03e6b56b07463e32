"""The subscriptions file, in Dovecot's formats (maildir-formats 5).

Version 2 begins with ``V\\t2`` and an empty line, and has a name a line with its levels joined by TAB, each
escaped; version 1 is a name a line.  A file is written back in the version it had; a new one is version 2.
Names are in the spelling of the disk (modified UTF-7), without any namespace prefix.
"""

from __future__ import annotations

import re

from maildir_imapd import mutf7

HEADER = b"V\t2\n\n"

_ESCAPES = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}
_UNESCAPES = {value: b"\1" + key for key, value in _ESCAPES.items()}


def parse(data: bytes, delimiter: str, separator: bytes = b".") -> tuple[list[str], int]:
    """Read a subscriptions file: the names in their order, and the file's version.

    *separator* joins the levels in a version 1 file.  Lines that are no name are passed over.
    """
    version = 2 if data.startswith(b"V\t2\n") else 1
    lines = data.split(b"\n")[2 if version == 2 else 0 :]
    names: dict[str, None] = {}
    for line in lines:
        if not line:
            continue
        if version == 2:
            levels = [re.sub(rb"\x01(.)", lambda m: _ESCAPES.get(m[1], m[1]), level) for level in line.split(b"\t")]
        else:
            levels = line.split(separator)
        try:
            text = [mutf7.decode(level) for level in levels]
        except ValueError:
            try:
                text = [level.decode("utf-8") for level in levels]
            except UnicodeDecodeError:
                continue
        if text[0].isascii() and text[0].upper() == "INBOX":
            text[0] = "INBOX"
        names[delimiter.join(text)] = None
    return list(names), version


def render(names: list[str], delimiter: str, version: int, separator: bytes = b".") -> bytes:
    """Write what ``parse`` reads."""
    if version == 1:
        return b"".join(separator.join(map(mutf7.encode, name.split(delimiter))) + b"\n" for name in names)
    lines = []
    for name in names:
        levels = [
            re.sub(rb"[\0\1\t\r\n]", lambda m: _UNESCAPES[m[0]], mutf7.encode(level)) for level in name.split(delimiter)
        ]
        lines.append(b"\t".join(levels) + b"\n")
    return HEADER + b"".join(lines)
