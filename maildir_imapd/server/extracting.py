"""Texts out of attachments, by programs that the administrator names: in jobs of indexing, and nowhere else.

A program gets an attachment on its standard input and gives a text in UTF-8 on its standard output. It has the rights
of the mail's owner and, where the kernel knows landlock, those to read the system's files alone: no mail and no file
to write. It has so much time, memory and output, and is ended with all that it has started.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.server import programs
from maildir_imapd.store.records.texts import EXTRACT_CHARACTERS

log = Log(__name__)

# Seconds that a program has, by the clock and of the processor.
PATIENCE_SECONDS: Final = 30.0
# What it is given and what it may give, in octets, and its memory.
INPUT_OCTETS: Final = 64 << 20
OUTPUT_OCTETS: Final = 4 * EXTRACT_CHARACTERS
MEMORY_OCTETS: Final = 1 << 30
_FILES: Final = 64
_ENVIRONMENT: Final = {"PATH": programs.PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent"}
# Seconds that a program has to end once it has said all.
_ENDS_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Extracting:
    """Which programs take which media types, as the settings say."""

    commands: Mapping[bytes, Sequence[str]]
    landlock: bool = True


class Extractors:
    """The programs, for a process without threads that has no other children."""

    def __init__(self, extracting: Extracting) -> None:
        self._commands = extracting.commands
        self._landlock = extracting.landlock
        self._missing: set[bytes] = set()
        if self._commands:
            programs.adopt_orphans()

    def takes(self, kind: bytes) -> bool:
        """Whether there is a program for this media type."""
        return kind in self._commands and kind not in self._missing

    def extract(self, kind: bytes, octets: bytes) -> str:
        """Return what the program makes of an attachment; "" where that is nothing, with a line in the log."""
        if len(octets) > INPUT_OCTETS:
            return ""
        command = self._commands[kind]
        program = programs.find(command)
        if program is None:
            self._missing.add(kind)
            log.warning("no such program to extract texts", program=command[0])
            return ""
        try:
            found, why = programs.run_within(self._bounds(), program, command, _ENVIRONMENT, octets)
        except OSError as error:
            log.warning("text not extracted", program=command[0], why=error)
            return ""
        if why:
            log.info("text not extracted", program=command[0], why=why)
            return ""
        return found.decode("utf-8", "replace")[:EXTRACT_CHARACTERS]

    def _bounds(self) -> programs.ProgramBounds:
        return programs.ProgramBounds(
            PATIENCE_SECONDS, MEMORY_OCTETS, OUTPUT_OCTETS, _ENDS_SECONDS, files=_FILES, landlock=self._landlock
        )
