"""Another server's configuration, made into ours: the settings, what is told and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maildir_imapd.config import SETTINGS


@dataclass(slots=True)
class Imported:
    """Our settings, and what could not be carried over: pairs of their setting's name and what that means for users.

    *told* is to be known before users come; with something *refused* the mail must not be served as it is.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, name: str, why: str) -> None:
        """Name a setting that is not carried over."""
        self.told.append((name, why))

    def refuse(self, name: str, why: str) -> None:
        """Name a setting for which this mail must not be served."""
        self.refused.append((name, why))


def render(found: Imported) -> str:
    """Write our configuration file, with what is missing as comments.

    With something refused it has a ``mail_location`` that no command takes, so that nobody serves the mail by mistake.
    """
    settings = dict(found.settings)
    if "imap" not in settings and "imaps" not in settings:
        settings |= {"imap": ["*:143"], "imaps": ["*:993"]}
    if found.refused:
        settings.setdefault("mail_location", "")
    lines = []
    for setting in SETTINGS:
        if setting.name not in settings:
            continue
        line = f"{setting.name} = {_value(settings[setting.name])}"
        if setting.name == "mail_location" and found.refused:
            lines += [f"#{line}"] if settings[setting.name] else []
            lines += ['mail_location = ""  # nothing is served before what is refused below is settled']
        else:
            lines.append(line)
    for heading, named in (("Refused", found.refused), ("Not carried over", found.told)):
        if named:
            lines += ["", f"# {heading}:", *_comments(named)]
    return "\n".join(lines) + "\n"


def _comments(named: list[tuple[str, str]]) -> list[str]:
    """A line for each reason, in the order of the first setting that has it."""
    by_reason: dict[str, dict[str, None]] = {}
    for name, why in named:
        by_reason.setdefault(_plain(why), {})[_plain(name)] = None
    return [f"#   {', '.join(names)}: {why}" for why, names in by_reason.items()]


def _plain(text: str) -> str:
    """Without what would end the comment."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, int):
        return str(value)
    written = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in written) + '"'
