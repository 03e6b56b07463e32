"""Which names a user may have, whatever back end knows him, and how a name that a client shows is spelled for them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# A user name becomes part of a path: letters and digits of any script and a few marks, never a slash.
_USER = re.compile(r"[\w+@=-][\w.+@=~&'-]{0,254}\Z").match


def valid_user(name: str) -> bool:
    """Whether *name* may be a user's name at all.

    %n and %d are what stands before and after the ``@``: neither may be empty, hidden, or ``..``.
    """
    return _USER(name) is not None and all(part and not part.startswith(".") for part in name.split("@"))


VARIABLES: Final = "und"
_VARIABLE = re.compile(r"%(L?)(.?)", re.DOTALL)


def filled(template: str, user: str, spell: Callable[[str], str] = str) -> str:
    """Fill in %u, %n and %d, with an L after the % in small letters, and %%; raises ValueError for another variable.

    *user* must be a valid name, or what comes of it may leave its place in a path; *spell* makes of a value what keeps
    its place in a text of another kind.
    """
    local, _, domain = user.partition("@")
    values = {"u": user, "n": local, "d": domain}

    def value(match: re.Match[str]) -> str:
        low, which = match.groups()
        if which == "%" and not low:
            return "%"
        if which not in values or not which:
            raise ValueError("may use the variables %u (user), %n (before the @) and %d (after it)")
        return spell(values[which].lower() if low else values[which])

    return _VARIABLE.sub(value, template)


def variables(template: str) -> set[str]:
    """The variables that a template has: "u", "n", "d"; raises ValueError for another."""
    filled(template, "")
    return {which for _, which in _VARIABLE.findall(template) if which != "%"}


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the name that a client shows becomes the one that back ends are asked for.

    *realm* is put behind a name without one (``auth_default_realm``), then *form* (``auth_username_format``) is filled
    in; "" for neither.
    """

    realm: str = ""
    form: str = ""

    def of(self, user: str) -> str:
        """Spell a name; one that can be no user's stays as it is, for it is nobody's."""
        if not valid_user(user):
            return user
        if self.realm and "@" not in user:
            user = f"{user}@{self.realm}"
        return filled(self.form, user) if self.form else user
