"""How settings of quotas are written, and the fields of users that are written as Dovecot has them; see values.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maildir_imapd.values import MOST, command, mailbox_levels, number, size, text

# A mailbox with thousand times the room of all others is a slip of the pen.
_MOST_PERCENT = 100_000


@dataclass(frozen=True, slots=True)
class GroupQuota:
    """Limits for the users of a group; None: nothing is said, 0: no limit."""

    group: str
    storage: int | None = None
    messages: int | None = None
    mailboxes: int | None = None


@dataclass(frozen=True, slots=True)
class QuotaException:
    """A mailbox that the quota treats otherwise: it does not count, or there is so much more room in it."""

    levels: tuple[str, ...]
    """Of its name; a last level ``*`` is all mailboxes below, and not that one."""
    ignored: bool = False
    storage: int = 0
    storage_percent: int = 0
    messages: int = 0
    messages_percent: int = 0


@dataclass(frozen=True, slots=True)
class QuotaWarning:
    """A command for when so many percent of the limit are reached, or with *under* no longer used."""

    percent: int
    under: bool
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SizeOrPercent:
    """Octets, or percent of something."""

    octets: int = 0
    percent: int = 0


def size_or_percent(value: Any) -> SizeOrPercent:
    """A size, or a number with ``%`` up to 100."""
    if isinstance(value, SizeOrPercent):
        return value
    written = str(value).strip()
    try:
        if written.endswith("%"):
            return SizeOrPercent(percent=number(0, 100)(written.rstrip("%").strip()))
        return SizeOrPercent(octets=size(0, MOST)(value))
    except ValueError:
        raise ValueError("must be a size such as 50M, or a part of the limit from 0% to 100%") from None


_GROUP = "must be GROUP: WORD=VALUE, ..., for example staff: storage=10G, messages=200000, mailboxes=500"
_OF_GROUPS: dict[str, Callable[[Any], int]] = {
    "storage": size(0, MOST),
    "messages": number(0, MOST),
    "mailboxes": number(0, MOST),
}


def group_quota(value: Any) -> GroupQuota:
    """``GROUP: storage=SIZE, messages=N, mailboxes=N``, of which any may lack."""
    if isinstance(value, GroupQuota):
        return value
    name, colon, written = text(value).rpartition(":")
    if not colon or not name.strip() or "," in name:
        raise ValueError(_GROUP)
    return GroupQuota(name.strip(), **_words(written, _OF_GROUPS, _GROUP))


def _words(written: str, known: dict[str, Callable[[Any], int]], form: str) -> dict[str, int]:
    said: dict[str, int] = {}
    for each in written.split(","):
        word, equals, what = (part.strip() for part in each.partition("="))
        if word not in known or not equals:
            raise ValueError(f"has {word!r}, which is none of {', '.join(known)}: it {form}")
        if word in said:
            raise ValueError(f"says {word} twice")
        try:
            said[word] = known[word](what)
        except ValueError as error:
            raise ValueError(f"has {word}={what}, which {error}") from None
    return said


_EXCEPTION = "must be NAME: ignore, or NAME: storage=+SIZE, messages=+N, for example Trash: storage=+100M"
_MORE = re.compile(r"\+?\s*([0-9][0-9A-Za-z]*)\s*(%{0,2})").fullmatch


def quota_exception(value: Any) -> QuotaException:
    """``NAME: ignore``, or ``NAME: storage=+SIZE, messages=+N``, of which either may be ``+N%`` of the limit."""
    if isinstance(value, QuotaException):
        return value
    name, colon, written = text(value).rpartition(":")
    if not colon or not written.strip():
        raise ValueError(_EXCEPTION)
    levels = _levels(name.strip())
    if written.strip() == "ignore":
        return QuotaException(levels, ignored=True)
    return _exception(levels, written.split(","), _EXCEPTION)


def _levels(name: str) -> tuple[str, ...]:
    """The levels of a name, whose last one may be ``*``."""
    if name.endswith("/*"):
        return (*mailbox_levels(name[:-2]), "*")
    return mailbox_levels(name)


def _exception(levels: tuple[str, ...], words: list[str], form: str, *, kib: bool = False) -> QuotaException:
    """Read how much more room there is; *kib*: a storage without a unit is in KiB."""
    said: dict[str, int] = {}
    for each in words:
        word, _, what = (part.strip() for part in each.partition("="))
        found = _MORE(what)
        if word not in ("storage", "bytes", "messages") or found is None:
            raise ValueError(f"has {each.strip()!r}: it {form}")
        kind = "storage" if word == "bytes" else word
        if kind in said or f"{kind}_percent" in said:
            raise ValueError(f"says {kind} twice")
        if found[2]:
            said[f"{kind}_percent"] = number(0, _MOST_PERCENT)(found[1])
        elif kind == "messages":
            said[kind] = number(0, MOST)(found[1])
        else:
            said[kind] = size(0, MOST)(found[1] + ("K" if kib and word == "storage" and found[1].isdigit() else ""))
    return QuotaException(levels, **said)  # type: ignore[arg-type]  # by their names these are all numbers


def exception_of_dovecot(written: str, separator: str = "/") -> QuotaException:
    """Read Dovecot's rule for a mailbox: ``Trash:storage=+100M:messages=+10%``, ``Trash:ignore``."""
    name, colon, rest = written.partition(":")
    name = name.strip()
    if separator != "/" and not name.endswith("/*"):
        name = name.replace(separator, "/")
    if not colon or not rest or name in ("*", "?", ""):
        raise ValueError("the rule for a mailbox must be as Trash:storage=+100M or Trash:ignore")
    levels, words = _levels(name), rest.split(":")
    if "ignore" in words:
        return QuotaException(levels, ignored=True)
    return _exception(levels, words, "must be as Trash:storage=+100M or Trash:ignore", kib=True)


_WARNING = re.compile(r"(under\s+)?([0-9]{1,3})\s*%?\s*:(.*)", re.DOTALL).fullmatch


def quota_warning(value: Any) -> QuotaWarning:
    """``PERCENT:COMMAND`` or ``under PERCENT:COMMAND``, the command as a shell would take it apart: its words."""
    if isinstance(value, QuotaWarning):
        return value
    found = _WARNING(text(value).strip())
    if found is None or not 1 <= int(found[2]) <= 100:
        raise ValueError("must be PERCENT:COMMAND with a percent from 1 to 100, for example 80:/usr/local/bin/full")
    words = command(found[3])
    if any("%" in re.sub("%[und%]", "", word) for word in words):
        raise ValueError("may use the variables %u (user), %n (before the @) and %d (after it), and %% for %")
    return QuotaWarning(int(found[2]), found[1] is not None, words)
