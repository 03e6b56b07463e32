"""A job in the background: a process of its own that becomes the user whose mail it works on, and then ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.server import confine, settings
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.programs import end_with_parent

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox

# How a job ends, if nothing ends it: all is done; not now (the log says why); it was asked to end.
DONE, FAILED, AGAIN = 0, 3, 4
# Of the memory that it shares with who began it: the message that it is at, as in danger.Message, and whether it is to
# end. By signals nobody could tell it: it is another user's, and its parent may not send him any.
DEVICE, INODE, UIDVALIDITY, UID, END = range(5)
CELLS: Final = 5
# Seconds for which a job may be at one message, or at what is between two, before the kernel ends it.
STANDS_SECONDS: Final = 180

# Opens the mail of a user as its owner, whom the process becomes for good; None for one for whom nothing is done.
Opens = Callable[[str], "Account | None"]


class Noting:
    """Notes which message the job is at, where it outlives the job."""

    def __init__(self, cells: memoryview[int], left_out: Collection[Message]) -> None:
        self._cells = cells
        self._left_out = left_out
        self.watched = False  # an alarm ends the process where it stands still

    @property
    def ending(self) -> bool:
        """Whether no more messages are to be worked on."""
        return bool(self._cells[END])

    @property
    def ended(self) -> int:
        """How a job ends that has come to its end, or was asked to."""
        return AGAIN if self.ending else DONE

    def moves(self) -> None:
        """Note that the job gets on."""
        if self.watched:
            signal.alarm(STANDS_SECONDS)

    def folder(self, mailbox: Mailbox) -> None:
        """Note the folder that the next messages are of."""
        self._cells[DEVICE], self._cells[INODE] = mailbox.identity
        self._cells[UIDVALIDITY] = mailbox.uidvalidity

    def at(self, uid: int) -> bool:
        """Note that work on a message begins, 0: ends; False for one that is to be left out."""
        self.moves()
        self._cells[UID] = 0 if self.ending else uid
        return not self.ending and Message(*self._cells[:END]) not in self._left_out


def of_users(config: Config, concerns: Callable[[Identity], bool] = lambda _: True) -> Opens:
    """Return what opens the mail of those users of the settings for whom something is to be done."""
    # Once: what is wrong with the users' file is said when it is read first.
    mail, chain = settings.mail(config), settings.chain(config)

    def opens(user: str) -> Account | None:
        identity = chain.find(user)
        if identity is None or not concerns(identity):
            return None
        accounts = Accounts(mail, None)
        owner = accounts.owner(identity)
        if owner is not None:
            become(owner)
        # As the process itself: that is the owner by now.
        return accounts.account(identity, None, make=False)

    return opens


def carry_out(
    do: Callable[[Account], int],
    opens: Opens,
    user: str,
    noting: Noting,
    parent: int,
    *,
    warn: Callable[..., None],
) -> int:
    """Do what is to be done for a user, and return how it ended; an ImapdError is told to *warn*, as fields.

    The process is good for nothing else afterwards, and ends with its *parent*.
    """
    try:
        account = opens(user)
        if account is None:
            return DONE
        if not _watch(noting, parent):
            return FAILED
        return do(account)
    except ImapdError as error:
        warn(user=user, why=error.text, detail=error.detail)
        return FAILED


def _watch(noting: Noting, parent: int) -> bool:
    """Have this process end with its *parent*, and where it stands still; False where the parent has gone already."""
    end_with_parent()
    if os.getppid() != parent:
        return False
    # The signal ends it also where it never comes back from C.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    noting.watched = True
    noting.moves()
    return True


def become(owner: Owner) -> None:
    """Be *owner* for good, with no right that he has not; raises OSError."""
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    confine.drop_capabilities()
