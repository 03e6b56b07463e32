"""Of which mailboxes and messages a virtual mailbox is made: read as Dovecot's plugin reads it, and searched for.

    # a line of a mailbox, or of a pattern, as many as there are; then what is wanted of them, indented
    *
    -Trash
    -Trash/*
      unseen

Before a name stands ``-`` for one that is left out, ``!`` for the one that takes what is put into the virtual mailbox,
and ``+`` for nothing here.  A mailbox that is named itself counts before one that a pattern means, and of patterns the
first; a pattern is about one namespace.  ``-\\Trash`` leaves out what has that special use, which is not Dovecot's.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError
from maildir_imapd.imap.progress import Progress
from maildir_imapd.imap.search.chosen import criteria
from maildir_imapd.imap.search.finder import Finder
from maildir_imapd.imap.view import View
from maildir_imapd.wire import search_keys
from maildir_imapd.wire.names import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from maildir_imapd.store.index.snapshot import Snapshot
    from maildir_imapd.store.mailbox import Mailbox
    from maildir_imapd.store.namespaces import Namespaces
    from maildir_imapd.store.virtual_sources import Searching

# Of what OLDER and YOUNGER find another answer comes with time.
PERIOD_SECONDS: Final = 60.0
_DIGEST_OCTETS: Final = 16


class VirtualSearch:
    """Search-criteria, as they are written; raises ValueError for what no mailbox can be made of."""

    def __init__(self, written: str) -> None:
        written = " ".join(written.split()) or "ALL"
        try:
            self.key = criteria(written)
        except ImapdError as error:
            raise ValueError(f"has the search {written!r}: {error.text}") from None
        found = list(search_keys.parts(self.key))
        if any(isinstance(part, search_keys.KeyNumbers | search_keys.KeyModSeq) for part in found):
            raise ValueError(f"has the search {written!r}: what is by numbers of one mailbox cannot be")
        self.period = PERIOD_SECONDS if any(isinstance(part, search_keys.KeyWithin) for part in found) else 0.0
        self.digest = hashlib.blake2b(written.encode("utf-8", "surrogateescape"), digest_size=_DIGEST_OCTETS).digest()

    def run(self, mailbox: Mailbox, rows: Snapshot, among: Sequence[int] | None) -> Iterable[int]:
        """As ``Searching.run``."""
        view = View(
            mailbox,
            "",
            read_only=True,
            wake=lambda: None,
            progress=Progress(time.monotonic),
            rev2=True,
            moment=rows,
        )
        return view.uids_at(Finder(view, time.time).run(self.key, None if among is None else list(among)))


@dataclass(frozen=True, slots=True)
class Virtual:
    """A definition: *wanted* names and patterns with what is wanted there, *without* those that are left out."""

    wanted: tuple[tuple[str, VirtualSearch], ...]
    without: tuple[str, ...]
    digest: bytes
    saves: str = ""
    use: bytes = b""

    def searching(self, mail: Namespaces) -> Callable[[str, bool], Searching | None]:
        """As ``VirtualDefinition.searching``."""
        delimiter = mail.delimiter
        prefixes = [space.prefix for space in mail.spaces]

        def space_of(name: str) -> str:
            return next((prefix for prefix in prefixes if (name + delimiter).startswith(prefix)), "")

        named = {_name(written): search for written, search in reversed(self.wanted) if not _is_pattern(written)}
        patterns = [
            (space_of(written), Pattern(written, delimiter), search)
            for written, search in self.wanted
            if _is_pattern(written)
        ]
        uses = {use.lower() for each in self.without if each.startswith("\\") for use in [each.encode()]}
        used = {name for name, each in mail.special_use().items() for use in each if use.lower() in uses}
        without = [(space_of(each), Pattern(each, delimiter)) for each in self.without if not each.startswith("\\")]

        def search_of(name: str, own: bool) -> Searching | None:
            found = named.get(name)
            if found is not None or not patterns:
                return found
            # INBOX may have the name of a namespace that all is below.
            space = "" if own else space_of(name)
            if name in used or any(other == space and pattern.matches(name) for other, pattern in without):
                return None
            return next(
                (search for other, pattern, search in patterns if other == space and pattern.matches(name)), None
            )

        return search_of


def _is_pattern(written: str) -> bool:
    return "*" in written or "%" in written


def _name(written: str) -> str:
    return "INBOX" if written.upper() == "INBOX" else written


def read(text: str, *, use: str = "") -> Virtual:
    """Read a file; *use*: the special use that the mailbox has.  Raises ValueError that names the line."""
    reading = _Reading()
    lines = text.splitlines()
    for number, line in enumerate([*lines, ""], 1):
        try:
            reading.line(line)
        except ValueError as error:
            raise ValueError(f"line {min(number, len(lines))} {error}") from None
    if not reading.wanted:
        raise ValueError("has no mailbox")
    digest = hashlib.blake2b(f"{text}\0{use}".encode("utf-8", "surrogateescape"), digest_size=_DIGEST_OCTETS).digest()
    used = b"\\" + use.encode("ascii") if use else b""
    return Virtual(tuple(reading.wanted), tuple(reading.without), digest, reading.saves, used)


class _Reading:
    """A file that is read line by line; an empty line ends it."""

    def __init__(self) -> None:
        self.wanted: list[tuple[str, VirtualSearch]] = []
        self.without: list[str] = []
        self.saves = ""
        self._waiting: list[str] = []  # names whose search has not come yet
        self._named = False  # something has been, be it left out
        self._rule = ""

    def line(self, line: str) -> None:
        """Take one; raises ValueError."""
        if line.startswith("#"):
            return
        if line.startswith((" ", "\t")) and line.strip():
            if not self._named:
                raise ValueError("has a search without a mailbox")
            self._rule += " " + line.strip()
            return
        if self._rule or not line.strip():
            search = VirtualSearch(self._rule)
            self.wanted += [(name, search) for name in self._waiting]
            self._waiting, self._named, self._rule = [], False, ""
        if line.strip():
            self._name(line)

    def _name(self, line: str) -> None:
        kind, name = (line[0], line[1:]) if line[0] in "+-!" else ("", line)
        if name.startswith("/"):
            raise ValueError("has an annotation in the place of a name, which is not supported")
        if not name:
            raise ValueError("has no name")
        self._named = True
        if kind == "-":
            self.without.append(name)
            return
        if kind == "!":
            if self.saves:
                raise ValueError("has two mailboxes for what is put into it")
            self.saves = _name(name)
        self._waiting.append(name)
