"""One item of the setting ``namespaces``: whose mail stands behind which prefix.

    PREFIX: WORD=VALUE, ...
    shared/%u/: type=others
    Public/: type=public, location=maildir:/srv/mail/public, rights=lrs
    Virtual/: type=virtual

The levels of a prefix are joined by ``/``, whatever delimiter clients see.  A comma in a location is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from maildir_imapd.errors import ConfigError
from maildir_imapd.values import choice, location, private_index, text

TYPES: Final = ("others", "public", "personal", "alias", "deleted", "virtual")
# Before the directory of Dovecot's files that say what virtual mailboxes there are.
VIRTUAL: Final = "virtual:"
_FORM: Final = "must be PREFIX: WORD=VALUE, ..., for example shared/%u/: type=others"
_LETTERS: Final = "lrwstipekxa"
_VARIABLE: Final = re.compile("%[und]")


@dataclass(frozen=True, slots=True)
class NamespaceRule:
    """The prefix of a namespace, in levels, and what stands behind it."""

    levels: tuple[str, ...]
    type: str
    location: str | None = None
    list: str = "children"
    subscriptions: str = "own"
    rights: frozenset[str] = frozenset()
    inbox: str = "prefix"
    private_seen: str = "no"
    private_index: str = ""

    @property
    def fixed(self) -> tuple[str, ...]:
        """The levels before the one that a user's name is in."""
        return tuple(level for level in self.levels if not _VARIABLE.search(level))

    def written(self) -> str:
        """The prefix as it is in the configuration."""
        return "/".join(self.levels) + "/"


def prefixes(rules: Iterable[NamespaceRule], delimiter: str) -> tuple[str, ...]:
    """Return what names of these namespaces begin with, where levels are joined by *delimiter*."""
    return tuple(delimiter.join((*rule.fixed, "")) for rule in rules)


def namespace_rule(value: Any) -> NamespaceRule:
    """Read one item; raises ValueError that says what would be right."""
    if isinstance(value, NamespaceRule):
        return value
    prefix, colon, written = text(value).partition(":")
    if not colon or not written.strip():
        raise ValueError(_FORM)
    levels = _levels(prefix.strip())
    said: dict[str, Any] = {}
    for each in _cut(written):
        word, equals, what = (part.strip() for part in each.partition("="))
        if word not in _WORDS or not equals:
            raise ValueError(f"has {word!r}, which is none of {', '.join(_WORDS)}: it {_FORM}")
        if word in said:
            raise ValueError(f"says {word} twice")
        try:
            said[word] = _WORDS[word](what)
        except ValueError as error:
            raise ValueError(f"has {word}={what}, which {error}") from None
    if said.get("type") == "alias":
        said.setdefault("list", "no")
    if "type" not in said:
        raise ValueError(f"does not say the type, one of {', '.join(TYPES)}: it {_FORM}")
    rule = NamespaceRule(levels, **said)
    _demand_sense(rule, set(said))
    return rule


def _cut(written: str) -> list[str]:
    """Cut at commas, but not at two of them, which stand for one."""
    return [each.replace(",,", ",") for each in re.split("(?<!,),(?!,)", written)]


def _location(value: str) -> str:
    """A mail_location, or ``virtual:`` and the rest of one."""
    if value.startswith(VIRTUAL):
        location("maildir:" + value.removeprefix(VIRTUAL))
        return value
    return location(value)


def _rights(value: str) -> frozenset[str]:
    letters = frozenset(value)
    if not letters <= frozenset(_LETTERS):
        raise ValueError(f"must be letters out of {_LETTERS}")
    return letters


_WORDS: dict[str, Callable[[Any], Any]] = {
    "type": choice(*TYPES),
    "location": _location,
    "list": choice("children", "yes", "no"),
    "subscriptions": choice("own", "there"),
    "rights": _rights,
    "inbox": choice("prefix", "named"),
    "private_seen": choice("yes", "no"),
    "private_index": private_index,
}
assert set(_WORDS) == {each.name for each in fields(NamespaceRule)} - {"levels"}


def _levels(prefix: str) -> tuple[str, ...]:
    levels = tuple(prefix.removesuffix("/").split("/"))
    if not prefix or not all(levels):
        raise ValueError(f"has an empty prefix, or one with an empty level: it {_FORM}")
    for level in levels:
        if any(not c.isprintable() or c in "*" for c in level) or "%" in _VARIABLE.sub("", level):
            raise ValueError(f"has the prefix {prefix!r}, which no mailbox can be below")
    return levels


def _demand_sense(rule: NamespaceRule, said: set[str]) -> None:
    """Raise ValueError for words that do not go together."""
    variables = [level for level in rule.levels if _VARIABLE.search(level)]
    if rule.type == "others":
        if len(variables) != 1 or rule.levels[-1] != variables[0] or _VARIABLE.sub("", variables[0]) not in ("", "@"):
            raise ValueError("must end in one level with the name of whose mail it is: %u, %n or %n@%d")
        if not re.search("%[un]", variables[0]) or len(rule.levels) < 2:
            raise ValueError("must have a level before %u or %n, for example shared/%u/")
        if rule.rights or rule.subscriptions != "own":
            raise ValueError("is of others, whose lists say the rights; subscriptions are the user's own there")
    elif variables:
        raise ValueError("may have %u and %n in the prefix with type=others alone")
    if rule.type in ("deleted", "alias"):
        wrong = said - {"type", "list"}
        if wrong:
            raise ValueError(f"is of the user's own mail, to which {', '.join(sorted(wrong))} says nothing")
    elif rule.type not in ("others", "virtual") and rule.location is None:
        raise ValueError("must say where its mail is, for example location=maildir:/srv/mail/public")
    if rule.location is not None and rule.location.startswith(VIRTUAL) is not (rule.type == "virtual"):
        raise ValueError("may have a location virtual:PATH with type=virtual, and no other there")
    if (rule.private_seen == "yes" or rule.private_index) and rule.type not in ("others", "public"):
        raise ValueError("is the user's own, where what he has seen is his own anyhow")
    if rule.type == "personal" and rule.rights:
        raise ValueError("is the user's own, who has all rights")
    if rule.type == "virtual" and said - {"type", "location", "list"}:
        raise ValueError("is of the user's own, made of other mailboxes, whose rights count")


def check(rules: Sequence[NamespaceRule], *, acl: bool) -> None:
    """Raise ConfigError for namespaces that stand in each other's way, or that nobody could use."""
    prefixes: dict[tuple[str, ...], NamespaceRule] = {}
    for rule in rules:
        other = prefixes.setdefault(rule.fixed if rule.type == "others" else rule.levels, rule)
        if other is not rule:
            raise ConfigError(f"namespaces has {rule.written()} and {other.written()}, which have the same names")
        if rule.type == "others" and not acl:
            raise ConfigError(f"namespaces has {rule.written()}, and acl = false: then nobody can share anything")
    for rule in rules:
        for other in rules:
            below = other.levels[: len(rule.fixed)] == rule.fixed and len(other.levels) > len(rule.fixed)
            if rule.type == "others" and other is not rule and below:
                raise ConfigError(
                    f"namespaces has {other.written()} below {rule.written()}, where a user of that name would be"
                )
    locations: dict[str, NamespaceRule] = {}
    for rule in rules:
        if rule.location is not None and rule.type != "others":
            other = locations.setdefault(rule.location, rule)
            if other is not rule:
                raise ConfigError(f"namespaces has {rule.written()} and {other.written()} with the same location")
