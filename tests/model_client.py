"""The open mailbox as a client knows it that believes every untagged response and asks for nothing: for tests."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field


def numbers(text: str) -> set[int]:
    """A set of numbers from the wire, without ``*``."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition(":")
        found.update(range(int(low), int(high or low) + 1))
    return found


@dataclass
class Believer:
    """*messages*: (UID, flags) in order, 0 for a UID that nobody has told yet.

    *vanished* and *changed*: what VANISHED (EARLIER) and FETCH with a UID have said since they were cleared.
    """

    messages: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    uidvalidity: int = 0
    modseq: int = 0
    follows_modseq: bool = False
    vanished: set[int] = field(default_factory=set)
    changed: dict[int, frozenset[str]] = field(default_factory=dict)

    def unknown(self) -> list[int]:
        """The numbers of messages whose UIDs are not known."""
        return [k + 1 for k, (uid, _) in enumerate(self.messages) if not uid]

    def did(self, number: int, sign: str, flags: Iterable[str]) -> None:
        """Take for granted what a STORE with .SILENT makes of what is known of a message."""
        uid, old = self.messages[number - 1]
        if uid:
            new = frozenset(flags)
            self.messages[number - 1] = (uid, old | new if sign == "+" else old - new if sign == "-" else new)

    def hear(self, line: str) -> None:
        """Take in one line from the server; those that say nothing of messages are passed over."""
        if match := re.fullmatch(r"\* (\d+) EXISTS", line):
            while len(self.messages) < int(match[1]):
                self.messages.append((0, frozenset()))
            assert len(self.messages) == int(match[1]), line
        elif match := re.fullmatch(r"\* (\d+) EXPUNGE", line):
            del self.messages[int(match[1]) - 1]
        elif match := re.fullmatch(r"\* VANISHED( \(EARLIER\))? (\S+)", line):
            if match[1]:
                self.vanished |= numbers(match[2])
            else:
                self._vanish(numbers(match[2]))
        elif match := re.match(r"\* (\d+) FETCH \((.*)\)$", line):
            self._fetched(int(match[1]) - 1, match[2], line)
        if match := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
            self.modseq = int(match[1])
        elif match := re.search(r"\[UIDVALIDITY (\d+)\]", line):
            self.uidvalidity = int(match[1])

    def _vanish(self, gone: set[int]) -> None:
        # A UID that was never asked for is that of a message whose UID is not known yet, somewhere
        # between known ones: UIDs ascend.
        for uid in gone - {uid for uid, _ in self.messages}:
            above = (k for k, (known, _) in enumerate(self.messages) if known > uid)
            del self.messages[next(above, len(self.messages)) - 1]
        self.messages = [m for m in self.messages if m[0] not in gone]

    def _fetched(self, at: int, items: str, line: str) -> None:
        uid = re.search(r"UID (\d+)", items)
        flags = re.search(r"FLAGS \(([^)]*)\)", items)
        modseq = re.search(r"MODSEQ \((\d+)\)", items)
        number, old = self.messages[at]
        if uid:
            assert number in (0, int(uid[1])), line
            # Whose flags nobody has told will be asked about.
            number = int(uid[1]) if number or flags else 0
        if flags:
            old = frozenset(flags[1].split()) - {"\\Recent"}
        # Without its UID it stays unknown, and will be asked about.
        self.messages[at] = (number, old if number else frozenset())
        if uid and flags:
            self.changed[number] = old
        if modseq and self.follows_modseq:
            self.modseq = max(self.modseq, int(modseq[1]))
