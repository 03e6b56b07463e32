"""A hook, as the settings say: a command for messages that clients put into a mailbox or take out of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hook:
    """A command for what comes into or goes out of the mailbox *folder*."""

    folder: str
    command: tuple[str, ...]
