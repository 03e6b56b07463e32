"""Virtual mailboxes of users: what there is, by the settings or by files as Dovecot's plugin has them."""

from __future__ import annotations

import hashlib
import os
import stat
from functools import partial
from typing import TYPE_CHECKING, Final, Literal, cast

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.imap.search.virtual import read
from maildir_imapd.location import expand, parse
from maildir_imapd.mutf7 import decode
from maildir_imapd.namespace_rules import VIRTUAL, prefixes
from maildir_imapd.store.branch import Branch, SpaceKind
from maildir_imapd.store.namespaces import Namespaces, OneAccount
from maildir_imapd.store.virtual_account import NAME, VirtualAccount
from maildir_imapd.store.virtual_current import VirtualSpace
from maildir_imapd.store.virtual_sources import VirtualSources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence

    from maildir_imapd.auth.base import Identity
    from maildir_imapd.imap.search.virtual import Virtual
    from maildir_imapd.namespace_rules import NamespaceRule
    from maildir_imapd.server.accounts import Accounts
    from maildir_imapd.server.owners import Owner
    from maildir_imapd.store.account import Account
    from maildir_imapd.store.branch import Listing, Space
    from maildir_imapd.virtual_rules import VirtualRule

log = Log(__name__)

FILE: Final = "dovecot-virtual"
# Of files in one directory tree, and of each of them: they are looked at whenever mailboxes are listed.
FILES: Final = 200
FILE_OCTETS: Final = 64 * 1024
_DEPTH: Final = 8
# All but making, renaming and removing them, and rights to them.
_RIGHTS: Final = frozenset("lrswipte")


def virtual_spaces(
    accounts: Accounts,
    known: MutableMapping[tuple[bytes, str], VirtualAccount],
    rules: Iterable[NamespaceRule],
    identity: Identity,
    own: Account,
    owner: Owner | None,
    spaces: Sequence[Space],
) -> list[Space]:
    """Return the namespaces of virtual mailboxes of a user, whose other ones are *spaces*; *known*: opened before."""
    mail = Namespaces(own, spaces, user=identity.user, partial=True)
    sources = VirtualSources(mail, identity.user, identity.groups, lists=accounts.mail.lists)
    found: list[Space] = []
    for rule in rules:
        if rule.type != "virtual":
            continue
        prefix = prefixes([rule], own.delimiter)[0]
        if any(own.delimiter in level for level in rule.levels):
            log.warning("namespace not shown, its prefix has the delimiter in it", prefix=rule.written())
            continue
        opens = partial(_open, accounts, known, rule, prefix, identity, own, owner, sources)
        found.append(
            OneAccount(SpaceKind.PERSONAL, prefix, opens, listed=cast("Listing", rule.list), virtual=True),
        )
    return found


def _open(
    accounts: Accounts,
    known: MutableMapping[tuple[bytes, str], VirtualAccount],
    rule: NamespaceRule,
    prefix: str,
    identity: Identity,
    own: Account,
    owner: Owner | None,
    sources: VirtualSources,
) -> Branch | None:
    account = known.get((own.root, prefix))
    if account is None or account.quota is not own.quota:
        if rule.location is None:
            definitions = of_rules(accounts.mail.virtual, own.delimiter)
        else:
            try:
                definitions = OfFiles(rule.location, identity.user, identity.home, own.delimiter)
            except (ConfigError, ValueError) as error:
                log.warning("namespace not shown", prefix=prefix, why=error)
                return None
        digest = hashlib.blake2b(prefix.encode(), digest_size=6).hexdigest().encode()
        account = known[own.root, prefix] = VirtualAccount(
            own,
            definitions,
            VirtualSpace(sources),
            accounts.mail.keeping,
            name=NAME + b"-" + digest,
            watcher=accounts.watcher_as(owner),
            unused=accounts.unused,
        )
    # Whose groups he is in, and who shares with him, may be otherwise since.
    account.space.sources = sources
    inbox: Literal["named", "none"] = "named" if "INBOX" in account.definitions() else "none"
    return Branch(
        account,
        SpaceKind.PERSONAL,
        prefix,
        own.delimiter,
        identity.user,
        most=_RIGHTS,
        inbox=inbox,
    )


def of_rules(rules: Sequence[VirtualRule], delimiter: str) -> Callable[[], Mapping[str, Virtual]]:
    """Return what gives the virtual mailboxes of the settings."""
    found = {}
    for rule in rules:
        try:
            found[rule.name(delimiter)] = read(rule.written(delimiter), use=rule.use)
        except ValueError as error:
            log.warning("no virtual mailbox", name=rule.name("/"), why=error)
    return lambda: found


class OfFiles:
    """The virtual mailboxes that the files below a directory define; the same object while these are the same.

    *location*: ``virtual:PATH``, of the user with that home; raises ConfigError, ValueError.
    """

    def __init__(self, location: str, user: str, home: str | None, delimiter: str) -> None:
        written = "maildir:" + location.removeprefix(VIRTUAL)
        self.root = os.fsdecode(expand(written, user, home).root)
        self._flat = parse(written).layout == "maildir++"
        self._delimiter = delimiter
        self._seen: tuple[tuple[str, int, int, int], ...] | None = None
        self._found: Mapping[str, Virtual] = {}

    def __call__(self) -> Mapping[str, Virtual]:
        """Look at the files, and read them anew if they have changed."""
        files = sorted(self._files(self.root, _DEPTH))
        if len(files) > FILES:
            log.warning("too many virtual mailboxes", path=self.root, shown=FILES)
            del files[FILES:]
        seen = tuple(files)
        if seen != self._seen:
            self._found = {name: each for path, *_ in seen if (name := self._name(path)) and (each := _read(path))}
            self._seen = seen
        return self._found

    def _files(self, directory: str, depth: int) -> Iterator[tuple[str, int, int, int]]:
        try:
            with os.scandir(directory) as entries:
                found = list(entries)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                log.warning("virtual mailboxes not read", path=directory, why=error)
            return
        for entry in found:
            try:
                if entry.name == FILE:
                    state = entry.stat()
                    if stat.S_ISREG(state.st_mode):
                        yield entry.path, state.st_ino, state.st_mtime_ns, state.st_size
                elif depth and entry.is_dir():
                    yield from self._files(entry.path, depth - 1)
            except OSError as error:
                log.warning("virtual mailboxes not read", path=entry.path, why=error)

    def _name(self, path: str) -> str:
        """The name of the mailbox that a file is of; "" for none."""
        below = os.path.relpath(os.path.dirname(path), self.root)
        if below == ".":
            return ""
        levels = below.split("/")
        if self._flat:
            levels = below[1:].split(".") if below.startswith(".") and "/" not in below else []
        try:
            names = [decode(os.fsencode(level)) for level in levels]
        except ValueError:
            names = []
        if not names or any(not level or self._delimiter in level for level in names):
            log.warning("no virtual mailbox", path=path, why="its directory has a name that no mailbox can have")
            return ""
        return self._delimiter.join(names)


def _read(path: str) -> Virtual | None:
    try:
        with open(path, "rb") as file:
            data = file.read(FILE_OCTETS + 1)
        if len(data) > FILE_OCTETS:
            raise ValueError(f"is longer than {FILE_OCTETS} octets")
        return read(data.decode("utf-8"))
    except (OSError, ValueError) as error:
        log.warning("no virtual mailbox", path=path, why=error)
        return None
