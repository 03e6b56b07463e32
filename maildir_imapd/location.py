"""Dovecot's ``mail_location``: where a user's mail is, and how it is laid out.

    maildir:PATH[:LAYOUT=auto|maildir++|fs][:INBOX=PATH][:CONTROL=PATH][:INDEX=PATH][:UTF-8]

A colon in a path is written twice.  Every path may have the variables %u %n %d %h, and begin with ``~/``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from maildir_imapd.errors import ConfigError
from maildir_imapd.store.maildir.decide import AUTO as AUTO
from maildir_imapd.store.maildir.layout import Places
from maildir_imapd.store.maildir.layouts import KINDS

# Options of Dovecot's that change nothing for us: how it keeps its own index, and what it does with empty names.
IGNORED = ("INDEXCACHE", "VOLATILEDIR", "LISTINDEX", "ITERINDEX", "NO-NOSELECT", "NO-FS-VALIDATION")
_VARIABLES = ("u", "n", "d", "h", "%")


@dataclass(frozen=True, slots=True)
class Location:
    """The parts, as templates; None for what is not said."""

    path: str
    layout: str = AUTO
    inbox: str | None = None
    control: str | None = None
    index: str | None = None
    utf8: bool = False

    def __str__(self) -> str:
        words = [self.path]
        if self.layout != AUTO:
            words.append(f"LAYOUT={self.layout}")
        for name, path in (("INBOX", self.inbox), ("CONTROL", self.control), ("INDEX", self.index)):
            if path is not None:
                words.append(f"{name}={path}")
        if self.utf8:
            words.append("UTF-8")
        return ":".join(["maildir", *[word.replace(":", "::") for word in words]])


def parse(written: str) -> Location:
    """Read a mail_location; raises ValueError that says what would be right."""
    kind, colon, rest = written.partition(":")
    if not colon or kind != "maildir" or not rest:
        raise ValueError("must be maildir:PATH, for example maildir:/srv/mail/%d/%n/Maildir")
    path, *options = split(rest)
    said: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        name = name.upper()
        if name in IGNORED:
            continue
        if name not in ("LAYOUT", "INBOX", "CONTROL", "INDEX", "UTF-8"):
            raise ValueError(f"has the option {name}, which is not supported")
        if name in said or bool(value) is (name == "UTF-8") or bool(equals) is (name == "UTF-8"):
            raise ValueError(f"has the option {name} twice, or in a form that means nothing")
        said[name] = value
    layout = said.get("LAYOUT", AUTO).lower()
    if layout not in (AUTO, *KINDS):
        raise ValueError(f"has the layout {layout}; there are {', '.join((AUTO, *KINDS))}")
    index = said.get("INDEX")
    found = Location(
        path,
        layout,
        said.get("INBOX"),
        said.get("CONTROL"),
        None if index is not None and index.upper() == "MEMORY" else index,
        "UTF-8" in said,
    )
    for template in (found.path, found.inbox, found.control, found.index):
        if template is not None:
            _check(template)
    return found


def split(rest: str) -> list[str]:
    """Cut at colons, but not at two of them, which stand for one."""
    return [word.replace("::", ":") for word in re.split(r"(?<!:):(?!:)", rest)]


def _check(template: str) -> None:
    k = 0
    while (k := template.find("%", k)) >= 0:
        if template[k + 1 : k + 2] not in _VARIABLES:
            raise ValueError("may use the variables %u (user), %n (before the @), %d (after it), %h (home)")
        k += 2
    if not template.startswith(("/", "~/", "%h")) and template != "~":
        raise ValueError("must be an absolute path, or begin with ~/ or %h")


def expand(written: str, user: str, home: str | None) -> Places:
    """The places of *user*: fill the variables of a mail_location.

    *user* has been checked by the login (no slash, no leading dot), so a value cannot leave its place in a path.
    Raises ConfigError when the home is needed and not known, ValueError for what is no location.
    """
    found = parse(written)

    def filled(template: str | None) -> bytes | None:
        return None if template is None else _fill(template, user, home)

    root = _fill(found.path, user, home)
    inbox = filled(found.inbox)
    return Places(
        root,
        found.layout,
        None if inbox == root else inbox,
        filled(found.control),
        filled(found.index),
        found.utf8,
    )


_OWNER = re.compile("%%([und])")


def private_index(written: str) -> str:
    """Check where Dovecot kept what a reader has seen of others' mail, as its INDEXPVT says it; raises ValueError.

    Variables are the reader's, and %%u, %%n and %%d the owner's.
    """
    rest = _OWNER.sub("", written)
    if "%%" in rest:
        raise ValueError("may use %%u, %%n and %%d of the owner")
    _check(rest)
    return written


def private_index_of(written: str, user: str, home: str | None, owner: str) -> bytes:
    """Fill in the variables of ``private_index``, for a reader *user* of mail of *owner* ("" for nobody's).

    Raises ConfigError when the home is needed and not known.
    """
    name, _, domain = owner.partition("@")
    whose = {"u": owner, "n": name, "d": domain}
    return _fill(_OWNER.sub(lambda found: whose[found[1]].replace("%", "%%"), written), user, home)


@dataclass(frozen=True, slots=True)
class Ground:
    """A directory that a user's mail is made in, and the one that must be there before it may be."""

    path: bytes
    above: bytes


def grounds(written: str, user: str, home: str | None) -> tuple[Ground, ...]:
    """The directories that the mail of *user* stands on; raises as ``expand``.

    Of a path with variables the part before the first of them must be there, of one in the home the home, of any other
    the directory that it lies in.
    """
    found = parse(written)
    templates = [found.path] if found.inbox is None else [found.path, found.inbox]
    return tuple(_ground(template, _fill(template, user, home), home) for template in templates)


def _ground(template: str, path: bytes, home: str | None) -> Ground:
    fixed = _FIXED(template)
    assert fixed is not None
    above = os.path.dirname(path)
    if template.startswith(("~", "%h")):
        at_home = os.path.abspath(os.fsencode(home or ""))
        if at_home != path:
            above = at_home
    elif fixed.end() < len(template):
        above = os.path.abspath(os.fsencode(fixed[0].replace("%%", "%").rpartition("/")[0] + "/"))
    return Ground(path, above)


_FIXED = re.compile("(?:[^%]|%%)*").match


def _fill(template: str, user: str, home: str | None) -> bytes:
    name, _, domain = user.partition("@")
    if template == "~" or template.startswith("~/"):
        template = "%h" + template[1:]
    parts = []
    k = 0
    while (found := template.find("%", k)) >= 0:
        parts.append(template[k:found])
        variable = template[found + 1 : found + 2]
        if variable == "h":
            if not home:
                raise ConfigError("the path needs the home directory, and this user has none")
            parts.append(home)
        else:
            parts.append({"u": user, "n": name, "d": domain, "%": "%"}[variable])
        k = found + 2
    parts.append(template[k:])
    return os.path.abspath(os.fsencode("".join(parts)))
