"""An account with an index of texts, for tests: filled here and now, and asked beside one without."""

from __future__ import annotations

import os
from pathlib import Path

from memory import MemoryClient, MemoryWires

from maildir_imapd.imap.search.filling import Filler, fill
from maildir_imapd.store.account import Account
from maildir_imapd.store.records.texts import FILE, LOCK, Texts
from maildir_imapd.store.records.texts_filling import Filling


class Indexed:
    """Two clients of one spool: one whose searches ask the index, and one whose do not."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.account = Account(os.fsencode(root), fsync="never")
        self.wanted: list[bytes] = []
        self.account.texts.wanted = self.wanted.append
        self.plain = Account(os.fsencode(root), fsync="never")
        self._clients: list[MemoryClient] = []

    @property
    def texts(self) -> Texts:
        return self.account.texts

    @property
    def file(self) -> Path:
        return self.root / os.fsdecode(FILE)

    @property
    def lock(self) -> Path:
        return self.root / os.fsdecode(LOCK)

    def fill(self, name: str = "INBOX", filler: Filler | None = None) -> int:
        with Filling(self.texts.directory) as filling:
            return fill(self.account.mailbox(name), filling, filler)

    def client(self, name: str = "INBOX", *, indexed: bool = True) -> MemoryClient:
        client = MemoryWires(self.account if indexed else self.plain).connect(login=True)
        assert client.command(b"s SELECT %b" % name.encode())[-1].startswith(b"s OK")
        self._clients.append(client)
        return client

    def close(self) -> None:
        """Let go of all that is open: what hangs in cycles would stay so for a while."""
        for client in self._clients:
            client.engine.close()
        for account in (self.account, self.plain):
            account.mailbox("INBOX").close()


def search(client: MemoryClient, key: bytes, needle: str) -> list[int]:
    """The numbers of the messages that SEARCH finds."""
    octets = needle.encode()
    lines = client.command(b"a UID SEARCH CHARSET UTF-8 %b {%d+}\r\n%b" % (key, len(octets), octets))
    assert lines[-1].startswith(b"a OK"), lines
    return [int(number) for number in lines[0].split()[2:]]
