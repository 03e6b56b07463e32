"""Every setting, written once: the configuration file, the command line and the manual come from here.

They stand in setting/, by what they are about.  The file is TOML, flat: ``name = value``.  What stands on the command
line wins over the file, and the file over the default.  Nothing below ``server`` reads this; settings go down as plain
values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maildir_imapd import toml_lines
from maildir_imapd.errors import ConfigError
from maildir_imapd.setting import (
    asked,
    auth,
    delivery,
    door,
    front,
    limits,
    listening,
    mailboxes,
    monitoring,
    namespaces,
    oauth,
    running,
    sharing,
    tls,
    urls,
    users,
)
from maildir_imapd.setting.setting import Setting

SETTINGS: tuple[Setting, ...] = (
    *listening.SETTINGS,
    *tls.SETTINGS,
    *door.SETTINGS,
    *front.SETTINGS,
    *users.SETTINGS,
    *auth.SETTINGS,
    *oauth.SETTINGS,
    *asked.SETTINGS,
    *delivery.SETTINGS,
    *mailboxes.SETTINGS,
    *namespaces.SETTINGS,
    *sharing.SETTINGS,
    *urls.SETTINGS,
    *limits.SETTINGS,
    *running.SETTINGS,
    *monitoring.SETTINGS,
)

BY_NAME = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True)
class Config:
    """All settings, checked.  An attribute a setting."""

    values: Mapping[str, Any] = field(default_factory=dict)
    source: str | None = None

    def __getattr__(self, name: str) -> Any:
        try:
            return self.values[name]
        except KeyError:
            raise AttributeError(name) from None


def read_file(source: str | Path) -> dict[str, Any]:
    """Read a configuration file; raises ConfigError with the file and each line that cannot be read."""
    return toml_lines.read(source)[0]


def load(source: str | Path | None, given: Mapping[str, Any]) -> Config:
    """Put the file and the command line's *given* (None or () for what was not said) together.

    Raises ConfigError that names every unknown setting and every bad value, a line each, with its line in the file.
    """
    raw, lines = toml_lines.read(source) if source is not None else ({}, {})
    values: dict[str, Any] = {}
    # By line, the command line first.
    wrong = [
        (lines.get(name, 1), f"{source}:{lines.get(name, 1)}: unknown setting {name!r}{_hint(name)}")
        for name in raw
        if name not in BY_NAME
    ]
    for setting in SETTINGS:
        said, name = given.get(setting.name), setting.name
        line, where, value = 0, setting.flag, said
        if said is None or said == ():
            if name not in raw:
                values[name] = setting.default
                continue
            line, value = lines.get(name, 1), raw[name]
            where = f"{source}:{line}: {name}"
        try:
            values[name] = _checked(setting, value)
        except ValueError as error:
            wrong.append((line, f"{where} {error}"))
    if wrong:
        raise ConfigError("\n".join(why for _, why in sorted(wrong)))
    return Config(values, None if source is None else str(source))


def _hint(name: str) -> str:
    import difflib

    close = difflib.get_close_matches(name.replace("-", "_"), BY_NAME, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _checked(setting: Setting, value: Any) -> Any:
    """The value of what is written; raises ValueError."""
    if setting.many:
        items = value if isinstance(value, list | tuple) else [value]
        return tuple(setting.check(item) for item in items)
    return setting.check(value)
