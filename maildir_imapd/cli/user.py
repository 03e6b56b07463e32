"""maildir-imapd user: which commands there are; each is loaded when it is run."""

from __future__ import annotations

import click

from maildir_imapd.cli.group import Group, Lazy

COMMANDS = {
    "A passwd-file": {
        "add": Lazy("users:add", "Add a user, and make the Maildir."),
        "passwd": Lazy("users:passwd", "Change a user's password."),
        "remove": Lazy("users:remove", "Remove a user from the file."),
        "device": Lazy("devices:device", "Passwords of a user's devices."),
    },
    "All back ends": {
        "list": Lazy("known:list_users", "List the users that can be listed."),
        "show": Lazy("known:show", "Say what the back ends know of a user."),
        "test": Lazy("known:test", "Say whether a password is right."),
    },
}


@click.group(cls=Group, lazy=COMMANDS, short_help="Add, remove, show and test users.")
def user() -> None:
    """Add users to a passwd-file, remove them, and show and test those of all back ends."""
