"""One job of indexing texts, in a process of its own that becomes the user whose mail it is."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Final

from maildir_imapd.errors import ImapdError, LockTimeout, MailboxMissing, StoreError
from maildir_imapd.events import Log
from maildir_imapd.imap.search.filling import fill, key_of
from maildir_imapd.server import jobs, preload, settings, shared, spools
from maildir_imapd.server.accounts import Accounts
from maildir_imapd.server.adopting import is_ours
from maildir_imapd.server.extracting import Extractors
from maildir_imapd.server.job_queue import JobKind
from maildir_imapd.server.jobs import CELLS, DONE, Noting, become
from maildir_imapd.store.records import texts
from maildir_imapd.store.records.texts_filling import Filling

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.config import Config
    from maildir_imapd.imap.columns.danger import Message
    from maildir_imapd.server.extracting import Extracting
    from maildir_imapd.server.jobs import Opens
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.mailbox import Mailbox

log = Log(__name__)

# Beside as many as there are twice, folders that an index may have of which some are surely gone.
_FOLDERS_GONE: Final = 16
# Seconds from the first word of a folder until it is indexed, and from one job of a user's to the next.
DELAY_SECONDS: Final = 5.0
REST_SECONDS: Final = 30.0


class TextNoting(Noting):
    """Notes where the job is, and has texts extracted; see ``filling.Filler``."""

    def __init__(self, cells: memoryview[int], left_out: Collection[Message], extractors: Extractors) -> None:
        super().__init__(cells, left_out)
        self._extractors = extractors

    def takes(self, kind: bytes) -> bool:
        """As ``filling.Filler.takes``."""
        return self._extractors.takes(kind)

    def extract(self, kind: bytes, octets: bytes) -> str:
        """As ``filling.Filler.extract``."""
        self.moves()
        return self._extractors.extract(kind, octets)


def wanted(config: Config) -> bool:
    """Whether any user has an index of texts, as far as that can be known now."""
    if settings.mail(config).search_index:
        return True
    users = settings.chain(config)
    # What another program says of its users is not known before they come.
    return not users.at_hand or any(who.search_index for who in users.everybody())


def possible() -> bool:
    """Whether there can be such an index, with a line in the log where not."""
    if texts.available():
        return True
    log.error("no index of texts: the SQLite of this Python has no FTS5 with trigrams")
    return False


def kind(config: Config, opens: Opens | None = None) -> JobKind:
    """Return how such jobs are done; *opens*: what opens the mail of a user, if not as the settings say."""
    found = opens or jobs.of_users(config, settings.mail(config).search_index_of)
    return kind_of(found, settings.extracting(config))


def kind_of(opens: Opens, extracting: Extracting) -> JobKind:
    """Return how such jobs are done where *extracting* says what is made of attachments."""

    def begin(
        user: str, paths: Sequence[bytes], cells: memoryview[int], left_out: Collection[Message], parent: int
    ) -> int:
        return work(opens, user, paths, TextNoting(cells, left_out, Extractors(extracting)), parent)

    return JobKind("texts", begin, DELAY_SECONDS, REST_SECONDS)


def work(opens: Opens, user: str, paths: Sequence[bytes], noting: TextNoting, parent: int) -> int:
    """Bring the index of *user* up to date with the folders at *paths*; as ``jobs.carry_out``."""

    def do(account: Account) -> int:
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
        return noting.ended

    return jobs.carry_out(do, opens, user, noting, parent, warn=partial(log.warning, "texts not indexed"))


def _fill(account: Account, path: bytes, filling: Filling, noting: TextNoting) -> None:
    """Take in one folder; raises StoreError where no other could be taken in either."""
    try:
        mailbox = account.mailbox_at(path)
        noting.folder(mailbox)
        taken = fill(mailbox, filling, noting)
    except (MailboxMissing, LockTimeout):
        return  # it has gone meanwhile, or somebody holds it: the next search asks for it again
    if taken:
        log.info("texts indexed", path=path, messages=taken)


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
    noting = TextNoting(shared.words(CELLS), frozenset(), Extractors(settings.extracting(config)))
    with Filling(account.texts.directory) as filling:
        if anew:
            filling.begin_anew()
        taken = _fill_all(account, filling, noting)
        if filling.mostly_dead:
            filling.begin_anew()
            taken = _fill_all(account, filling, noting)
    return taken


def _fill_all(account: Account, filling: Filling, noting: TextNoting) -> int:
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
