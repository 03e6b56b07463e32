"""The parts of a server that a single user's tunnel needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from maildir_imapd.config import expand_location
from maildir_imapd.store.account import Account
from maildir_imapd.store.watch import Watcher

if TYPE_CHECKING:
    from maildir_imapd.config import Config


def open_account(config: Config, user: str, home: str) -> tuple[Account, Watcher]:
    """The mail of the user who runs the process; raises ConfigError, StoreError."""
    root = os.path.abspath(expand_location(config.mail_location, user, home))
    watcher = Watcher(config.watch, interval=config.poll_interval)
    return Account(root, delimiter=config.delimiter, fsync=config.fsync, watcher=watcher), watcher
