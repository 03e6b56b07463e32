"""One job of indexing texts, in a process of its own that becomes the user whose mail it is."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError, LockTimeout, MailboxMissing, StoreError
from maildir_imapd.events import Log
from maildir_imapd.imap.columns.danger import Message
from maildir_imapd.imap.search.filling import fill, key_of
from maildir_imapd.server import confine, preload, settings, shared, spools
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.adopting import is_ours
from maildir_imapd.server.extracting import Extractors, end_with_parent
from maildir_imapd.store.records.texts_filling import Filling

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

# Beside as many as there are twice, folders that an index may have of which some are surely gone.
_FOLDERS_GONE: Final = 16
# How a job ends, if nothing ends it: all is indexed; not now (the log says why); it was asked to end.
DONE, FAILED, AGAIN = 0, 3, 4
# Of the memory that it shares with who began it: the message that it is at, as in danger.Message, and whether it is to
# end. By signals nobody could tell it: it is another user's, and its parent may not send him any.
DEVICE, INODE, UIDVALIDITY, UID, END = range(5)
CELLS: Final = 5
# Seconds for which a job may be at one message, or at what is between two, before the kernel ends it.
STANDS_SECONDS: Final = 180


class Noting:
    """Notes which message the job is at, where it outlives the job, and has texts extracted; see ``filling.Filler``."""

    def __init__(self, cells: memoryview[int], left_out: Collection[Message], extractors: Extractors) -> None:
        self._cells = cells
        self._left_out = left_out
        self._extractors = extractors
        self.watched = False  # an alarm ends the process where it stands still

    @property
    def ending(self) -> bool:
        """Whether no more messages are to be taken in."""
        return bool(self._cells[END])

    def moves(self) -> None:
        """Note that the job gets on."""
        if self.watched:
            signal.alarm(STANDS_SECONDS)

    def folder(self, mailbox: Mailbox) -> None:
        """Note the folder that the next messages are of."""
        self._cells[DEVICE], self._cells[INODE] = mailbox.identity
        self._cells[UIDVALIDITY] = mailbox.uidvalidity

    def at(self, uid: int) -> bool:
        """As ``filling.Filler.at``."""
        self.moves()
        self._cells[UID] = 0 if self.ending else uid
        return not self.ending and Message(*self._cells[:END]) not in self._left_out

    def takes(self, kind: bytes) -> bool:
        """As ``filling.Filler.takes``."""
        return self._extractors.takes(kind)

    def extract(self, kind: bytes, octets: bytes) -> str:
        """As ``filling.Filler.extract``."""
        self.moves()
        return self._extractors.extract(kind, octets)


# Opens the mail of a user as its owner, whom the process becomes for good; None for one who has no index.
Opens = Callable[[str], "Account | None"]


def of_users(config: Config) -> Opens:
    """Return what opens the mail of the users that the settings know."""

    # Once: what is wrong with the users' file is said when it is read first.
    mail, chain = settings.mail(config), settings.chain(config)

    def opens(user: str) -> Account | None:
        identity = chain.find(user)
        if identity is None or not mail.search_index_of(identity):
            return None
        accounts = Accounts(mail, None)
        owner = accounts.owner(identity)
        if owner is not None:
            become(owner)
        # As the process itself: that is the owner by now.
        return accounts.account(identity, None, make=False)

    return opens


def work(opens: Opens, user: str, paths: Sequence[bytes], noting: Noting, parent: int) -> int:
    """Bring the index of *user* up to date with the folders at *paths*; returns how it ended.

    The process is good for nothing else afterwards, and ends with its *parent*.
    """
    try:
        account = opens(user)
        if account is None:
            return DONE
        end_with_parent()
        if os.getppid() != parent:
            return FAILED
        # The signal ends it also where it never comes back from C.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
        noting.watched = True
        noting.moves()
        there = {*account.paths()}
        with ExitStack() as stack:
            try:
                filling = stack.enter_context(Filling(account.texts.directory))
            except LockTimeout:
                return DONE  # another worker's is at it, and is told of the same folders
            for path in paths:
                if path in there and not noting.ending:
                    _fill(account, path, filling, noting)
            if len(filling.folders()) > 2 * len(there) + _FOLDERS_GONE and not noting.ending:
                filling.forget_others(key for key, _ in _keys(account))
                filling.commit()
    except ImapdError as error:
        log.warning("texts not indexed", user=user, why=error.text, detail=error.detail)
        return FAILED
    return AGAIN if noting.ending else DONE


def _fill(account: Account, path: bytes, filling: Filling, noting: Noting) -> None:
    """Take in one folder; raises StoreError where no other could be taken in either."""
    try:
        mailbox = account.mailbox_at(path)
        noting.folder(mailbox)
        taken = fill(mailbox, filling, noting)
    except (MailboxMissing, LockTimeout):
        return  # it has gone meanwhile, or somebody holds it: the next search asks for it again
    if taken:
        log.info("texts indexed", path=path, messages=taken)


def become(owner: Owner) -> None:
    """Be *owner* for good, with no right that he has not; raises OSError."""
    os.setgroups(owner.groups)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    confine.drop_capabilities()


# --- for commands -------------------------------------------------------------------------------------


def refill(config: Config, identity: Identity, *, anew: bool) -> int:
    """Bring the whole index of one user up to date, or make it *anew*; returns how many messages were taken in.

    In a process of its own, which becomes the owner of the mail: programs that make texts of attachments must have no
    other rights. Folders that no server of ours has opened yet are left out. Raises ImapdError, with what the other
    process says.
    """
    owner = spools.owner_of(config, identity)
    preload.load()
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        said = "\nit has failed"
        try:
            os.close(reading)
            if owner is not None:
                become(owner)
            said = str(_refill(config, identity, anew=anew))
        except ImapdError as error:
            said = f"\n{error.detail or error.text}"
        except BaseException:
            log.exception("indexing failed", user=identity.user)
        finally:
            os.write(writing, said.encode("utf-8", "replace")[:4096])
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said, _, why = pipe.read().decode("utf-8", "replace").partition("\n")
    os.waitpid(process, 0)
    if not said:
        raise StoreError(detail=why.strip() or "the process has died")
    return int(said)


def _refill(config: Config, identity: Identity, *, anew: bool) -> int:
    account = Accounts(settings.mail(config), None).account(identity, None, make=False)
    noting = Noting(shared.words(CELLS), frozenset(), Extractors(settings.extracting(config)))
    with Filling(account.texts.directory) as filling:
        if anew:
            filling.begin_anew()
        taken = _fill_all(account, filling, noting)
        if filling.mostly_dead:
            filling.begin_anew()
            taken = _fill_all(account, filling, noting)
    return taken


def _fill_all(account: Account, filling: Filling, noting: Noting) -> int:
    """Take in all folders, and forget those that are gone, of which nobody tells an index."""
    keys, taken = [], 0
    for key, mailbox in _keys(account):
        taken += fill(mailbox, filling, noting)
        keys.append(key)
    filling.forget_others(keys)
    filling.commit()
    return taken


def _keys(account: Account) -> Iterator[tuple[bytes, Mailbox]]:
    """The mailboxes that a server of ours has opened, with what an index knows them by; raises ImapdError."""
    for path in account.paths():
        if is_ours(path):
            mailbox = account.mailbox_at(path)
            yield key_of(mailbox, mailbox.snapshot), mailbox
