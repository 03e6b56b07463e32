"""One item of the setting ``virtual_mailboxes``: a search that is a mailbox.

    NAME: PATTERN, ... | SEARCH
    Unread: *, -\\Trash, -\\Junk | UNSEEN
    All mail: * | ALL | use=All

Levels of names are joined by ``/``, whatever delimiter clients see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from maildir_imapd.values import text

_FORM: Final = "must be NAME: PATTERN, ... | SEARCH, for example Unread: * | UNSEEN"
_USES: Final = ("All", "Archive", "Flagged", "Important")


@dataclass(frozen=True, slots=True)
class VirtualRule:
    """A virtual mailbox: its name, in levels; which mailboxes it is of; what is searched for; its special use."""

    levels: tuple[str, ...]
    patterns: tuple[str, ...]
    search: str
    use: str = ""

    def name(self, delimiter: str) -> str:
        """The name below the prefix."""
        return delimiter.join(self.levels)

    def written(self, delimiter: str) -> str:
        """The text that a file would have in it."""
        return "\n".join([*(pattern.replace("/", delimiter) for pattern in self.patterns), f"  {self.search}"])


def virtual_rule(value: Any) -> VirtualRule:
    """Read one item; raises ValueError that says what would be right."""
    if isinstance(value, VirtualRule):
        return value
    name, colon, rest = text(value).partition(":")
    patterns, bar, rest = rest.partition("|")
    search, _, word = rest.partition("|")
    levels = tuple(level.strip() for level in name.split("/"))
    wanted = tuple(filter(None, (pattern.strip() for pattern in patterns.split(","))))
    if not colon or not bar or not all(levels) or not wanted or not search.strip():
        raise ValueError(_FORM)
    if any(not c.isprintable() or c in "*%" for c in name):
        raise ValueError(f"has the name {name!r}, which no mailbox can have")
    key, equals, use = (part.strip() for part in word.partition("="))
    if word.strip() and (key != "use" or not equals or use not in _USES):
        raise ValueError(f"has {word.strip()!r}, which is not use= with one of {', '.join(_USES)}")
    return VirtualRule(levels, wanted, search.strip(), use)


# What there is where nothing is said.
USUAL: Final = tuple(
    virtual_rule(each)
    for each in (
        "All mail: *, -\\Trash, -\\Junk | ALL | use=All",
        "Flagged: *, -\\Trash, -\\Junk | FLAGGED | use=Flagged",
        "Unread: *, -\\Trash, -\\Junk | UNSEEN",
    )
)
