"""One user's session on standard input and output, without a daemon."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from maildir_imapd.auth.base import Identity
from maildir_imapd.errors import Goodbye, ShuttingDown
from maildir_imapd.imap.gate import Access
from maildir_imapd.location import expand, grounds
from maildir_imapd.server import confine, imap_service, memory, owners, settings
from maildir_imapd.server.accounts import Accounts, demand_ground, open_account
from maildir_imapd.server.beside import start as start_background
from maildir_imapd.server.connection import converse
from maildir_imapd.server.reach import reach_of
from maildir_imapd.server.sharing import Sharing
from maildir_imapd.server.transport import PipeTransport
from maildir_imapd.store.arranging import arrange

if TYPE_CHECKING:
    from types import FrameType

    from maildir_imapd.config import Config
    from maildir_imapd.server.accounts import Mail
    from maildir_imapd.server.confine import Confinement
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.maildir.layout import Places


def serve(config: Config, user: str, home: str, *, ending: Iterable[signal.Signals] = ()) -> None:
    """Speak IMAP, already logged in as *user*; raises ConfigError, StoreError.

    The signals *ending* have the client told BYE and half-made messages removed.
    """
    memory.give_back()
    mail = settings.mail(config)
    places = expand(mail.location, user, home)
    _become_owner(places)
    _confine(settings.confinement(config), places, mail, user, home)
    background = start_background(config, opens=lambda _: _opened(mail, places))
    watcher = settings.watcher(config)
    goodbye: list[Goodbye] = []
    try:
        demand_ground(mail, grounds(mail.location, user, home))
        account = open_account(mail, places, watcher, mail.quotas.everybody, mailboxes=mail.usual)
        Sharing(mail.sharing, None).have(account, user)
        arrange(account)
        if background.has_texts:
            account.texts.wanted = partial(background.fill_texts, user)
        if background.has_fields:
            account.ahead.wanted = partial(background.work_ahead, user)
        if background.has_hooks:
            account.moves.wanted, account.moves.folders = partial(background.run_hooks, user), mail.hooked
        if background.has_warnings:
            account.quota.crossing, account.quota.thresholds = partial(background.warn, user), mail.quotas.thresholds
        background.expire(user)
        transport = PipeTransport(0, 1)

        def end(number: int, frame: FrameType | None) -> None:
            # Runs between two steps of the one thread that serves: a note and a ring is all it does.
            goodbye.append(ShuttingDown())
            transport.bell.ring()

        for number in ending:
            signal.signal(number, end)
        rules = settings.policy(
            config, tls=False, loopback=False, compress=False, metadata=settings.server_metadata(config)
        )
        # What others share is found beside the mail, and they are users of the system; the kernel says what is allowed.
        reach = reach_of(mail.namespaces, Accounts(mail, watcher, acts=False), _system_user, watcher)
        seen = reach.namespaces(Identity(user, home), account, None)
        service = imap_service.logged_in_already(
            rules, Access(user, seen), transport, "tunnel", settings.budget(config)
        )
        converse(transport, service, leaving=lambda: goodbye[0] if goodbye else None)
    finally:
        watcher.close()
        background.close()


def _system_user(name: str) -> Identity | None:
    try:
        return Identity(name, pwd.getpwnam(name).pw_dir)
    except KeyError:
        return None


def _opened(mail: Mail, places: Places) -> Account:
    """Open the account for a job."""
    return open_account(mail, places, None, mail.quotas.everybody, mailboxes=mail.usual or ())


def _become_owner(places: Places) -> None:
    """Be whoever owns the mail, where root asks for it: root works in no directory that another may change."""
    if os.geteuid() != 0:
        return
    try:
        state = os.stat(places.root)
    except OSError:
        return  # it is made, or the store says why not
    if state.st_uid != 0:
        owner = owners.owner(state.st_uid, state.st_gid)
        os.setgroups(owner.groups)
        os.setgid(owner.gid)
        os.setuid(owner.uid)


def _confine(limits: Confinement, places: Places, mail: Mail, user: str, home: str) -> None:
    """Give up what one user's session does not need; raises ConfigError."""
    if limits.drop_capabilities:
        confine.drop_capabilities()
    confine.set_limits(limits)
    if limits.no_new_privs:
        confine.no_new_privileges()
        if limits.landlock:
            # Others' mail may be anywhere that mail is.
            beside = confine.of_users(mail, [Identity(user, home)]) if mail.namespaces else []
            confine.lock_in(limits, [*confine.of_places(places), *beside], log_file=True)
