"""What a mailbox looks like from outside, however it is asked: for comparing servers over one spool."""

from __future__ import annotations

import re
from collections.abc import Callable

MESSAGE = re.compile(r"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) INTERNALDATE (\S+ \S+ \S+) RFC822.SIZE (\d+)").match

# Of each mailbox: UIDVALIDITY, UIDNEXT, and a line a message: UID, flags, size.
State = dict[str, tuple[str, str, list[str]]]


def look(talk: Callable[..., list[str]], names: tuple[str, ...]) -> State:
    """Ask about each mailbox; *talk* sends commands and returns lines."""
    return {
        name: parse(talk(f"EXAMINE {name}", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)"), name) for name in names
    }


def parse(lines: list[str], name: str) -> tuple[str, str, list[str]]:
    """UIDVALIDITY, UIDNEXT and messages of the answers.  Courier's EXAMINE leaves UIDNEXT out: then it is ""."""
    text = "\n".join(lines)
    uidvalidity = re.search(r"UIDVALIDITY (\d+)", text)
    assert uidvalidity, (name, text)
    uidnext = re.search(r"UIDNEXT (\d+)", text)
    messages = []
    for line in lines:
        if match := MESSAGE(line):
            flags = sorted(set(match[2].split()) - {"\\Recent"})
            # Dates are shown in different zones; sizes tell that it is the same file.
            messages.append(f"{match[1]} {' '.join(flags)} {match[4]}")
    return uidvalidity[1], uidnext[1] if uidnext else "", messages


def subscribed(lines: list[str]) -> set[str]:
    """The subscribed names of an answer to LSUB; Courier lists the parents of some as well."""
    listed = [line for line in lines if line.startswith("* LSUB") and "\\noselect" not in line.lower()]
    return {line.rpartition(" ")[2].strip('"') for line in listed}
