"""One user's session on standard input and output, without a daemon."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING

from maildir_imapd.errors import Goodbye, ShuttingDown
from maildir_imapd.imap import commands as _commands  # noqa: F401  # fills the table
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.location import expand
from maildir_imapd.server import confine
from maildir_imapd.server import identity as identities
from maildir_imapd.server.background import meanwhile
from maildir_imapd.server.connection import converse
from maildir_imapd.server.door import open_account
from maildir_imapd.server.transport import PipeTransport
from maildir_imapd.server.worker import policy, server_metadata
from maildir_imapd.store.watch import Watcher

if TYPE_CHECKING:
    from types import FrameType

    from maildir_imapd.config import Config
    from maildir_imapd.store.maildir.layout import Places


def serve(config: Config, user: str, home: str, *, ending: Iterable[signal.Signals] = ()) -> None:
    """Speak IMAP, already logged in as *user*; raises ConfigError, StoreError.

    The signals *ending* have the client told BYE and half-made messages removed.
    """
    places = expand(config.mail_location, user, home)
    _become_owner(places)
    _confine(config, places)
    watcher = Watcher(config.watch, interval=config.poll_interval)
    goodbye: list[Goodbye] = []
    try:
        account = open_account(config, places, watcher, (config.quota_storage or 0, config.quota_messages or 0))
        transport = PipeTransport(0, 1)

        def end(number: int, frame: FrameType | None) -> None:
            # Runs between two steps of the one thread that serves: a note and a ring is all it does.
            goodbye.append(ShuttingDown())
            transport.bell.ring()

        for number in ending:
            signal.signal(number, end)
        engine = Engine(
            policy(config, tls=False, loopback=False, compress=False, metadata=server_metadata(config)),
            secure=True,
            wake=transport.bell.ring,
            preauth=Access(user, account),
            peer="tunnel",
            meanwhile=meanwhile,
            look=transport.look,
        )
        converse(transport, engine, leaving=lambda: goodbye[0] if goodbye else None)
    finally:
        watcher.close()


def _become_owner(places: Places) -> None:
    """Be whoever owns the mail, where root asks for it: root works in no directory that another may change."""
    if os.geteuid() != 0:
        return
    try:
        state = os.stat(places.root)
    except OSError:
        return  # it is made, or the store says why not
    if state.st_uid != 0:
        owner = identities.owner(state.st_uid, state.st_gid)
        os.setgroups(owner.groups)
        os.setgid(owner.gid)
        os.setuid(owner.uid)


def _confine(config: Config, places: Places) -> None:
    """Give up what one user's session does not need; raises ConfigError."""
    if config.drop_capabilities:
        confine.drop_capabilities()
    confine.set_limits(config)
    if config.no_new_privs:
        confine.no_new_privileges()
        if config.landlock:
            confine.lock_in(config, confine.of_places(places), log=True)
