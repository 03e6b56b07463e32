"""METADATA beside the real Dovecot: the same commands, the same meaning."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from dovecot import Dovecot, metadata
from memory import MemoryWires

pytestmark = pytest.mark.interop

COMMANDS = (
    "CREATE Work",
    "GETMETADATA INBOX /private/comment",
    'SETMETADATA INBOX (/private/comment "x" /shared/comment "some words")',
    "GETMETADATA INBOX (/private/comment /shared/comment)",
    "GETMETADATA INBOX (/SHARED/comment /private/none)",
    "GETMETADATA (MAXSIZE 1) INBOX (/private/comment /shared/comment)",
    "GETMETADATA (MAXSIZE 0) INBOX (/private/comment /shared/comment)",
    "GETMETADATA (DEPTH infinity) INBOX /private",
    "GETMETADATA (DEPTH 1) INBOX /private/none",
    "GETMETADATA Work (/private/comment /shared/comment)",
    'SETMETADATA Work (/private/vendor/a/b "1" /private/vendor/a/b/c "2")',
    "GETMETADATA (DEPTH 1) Work /private/vendor/a",
    "GETMETADATA (DEPTH infinity) Work /private/vendor",
    "GETMETADATA (DEPTH 0) Work /private/vendor/a/b",
    'SETMETADATA INBOX (/comment "x")',
    'SETMETADATA "" (/shared/comment "x")',
    'GETMETADATA "" /shared/comment',
    "GETMETADATA Nobody /shared/comment",
    "SETMETADATA INBOX (/private/comment NIL)",
    "GETMETADATA INBOX (/private/comment /shared/comment)",
    "DELETE Work",
    "CREATE Work",
    "GETMETADATA (DEPTH infinity) Work /private",
)


def meaning(lines: list[str]) -> list[str]:
    """What the lines say: entries and values, and of tagged lines the status and METADATA's codes."""
    text = "\r\n".join(lines)
    while literal := re.search(r"\{(\d+)\}\r\n", text):
        end = literal.end() + int(literal[1])
        text = f'{text[: literal.start()]}"{text[literal.end() : end]}"{text[end:]}'
    found = []
    for line in text.split("\r\n"):
        if line.startswith("* METADATA"):
            # Below an entry Dovecot's order is that of a hash.
            found.append(" ".join(sorted(re.findall(r"[^ ()]+ (?:NIL|\"[^\"]*\")", line.lower(), re.IGNORECASE))))
        elif match := re.match(r"t?\d+ (OK|NO|BAD)( \[METADATA [^]]*\])?", line):
            found.append(match[0].lstrip("t"))
    return found


def test_the_same_commands_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "Maildir").mkdir()
    dovecot = Dovecot(tmp_path, metadata(tmp_path))
    theirs = meaning(dovecot.talk(*COMMANDS))
    client = MemoryWires(tmp_path / "ours").connect(login=True)
    ours = []
    for number, command in enumerate(COMMANDS):
        ours += [line.decode() for line in client.command(f"{number} {command}".encode())]
    assert meaning(ours) == theirs
