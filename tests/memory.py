"""Clients without sockets: a session, its reply, and the octets between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from maildir_imapd.auth.base import Credential, Password
from maildir_imapd.errors import AuthenticationFailed, MailboxMissing
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access, nobody_else
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import Reply
from maildir_imapd.store.account import Account
from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.namespaces import Namespaces

POLICY = Policy(plaintext_login=True)


class MemoryClient:
    """Drives one session; what it is woken for is announced before the next line is read."""

    def __init__(
        self,
        account: Account | Namespaces,
        policy: Policy = POLICY,
        user: str = "ann",
        groups: frozenset[str] = frozenset(),
        reach: Callable[[str], AbstractContextManager[Access]] = nobody_else,
    ) -> None:
        self.account = account
        self._access = Access(user, account, groups=groups, reach=reach)
        self._out = bytearray()
        self.woken = False
        self.engine = Engine(policy, self._gate, wake=self._wake, peer="memory")
        self.session = self.engine.session
        self.reply = Reply(self._take)
        self.engine.greet(self.reply)

    def _gate(self, credential: Credential) -> Access:
        match credential:
            case Password(user, b"secret") if user == self._access.user:
                return self._access
        raise AuthenticationFailed

    def _wake(self) -> None:
        self.woken = True

    def _take(self, data: bytes) -> None:
        self._out += data

    def send(self, data: bytes) -> None:
        self.engine.feed(data, self.reply)

    def _announce(self) -> None:
        if self.woken:
            self.woken = False
            self.engine.announce(self.reply)

    def read_line(self) -> bytes | None:
        self._announce()
        end = self._out.find(b"\r\n")
        if end < 0:
            assert self.engine.over, f"nothing more to read; left: {bytes(self._out)!r}"
            return None
        line = bytes(self._out[:end])
        del self._out[: end + 2]
        return line

    def unread(self) -> bytes:
        self._announce()
        return bytes(self._out)

    def command(self, line: bytes) -> list[bytes]:
        """Send one command and return all lines it was answered with."""
        before = len(self._out)
        self.send(line + b"\r\n")
        out = bytes(self._out[before:])
        del self._out[before:]
        return out.split(b"\r\n")[:-1]

    def ok(self, command: bytes) -> list[bytes]:
        """As ``command``, and it must be OK: the lines before the tagged one."""
        lines = self.command(b"t " + command)
        assert lines[-1].startswith(b"t OK"), lines
        return lines[:-1]

    def append(self, mailbox: bytes, text: str, flags: bytes = b"") -> list[bytes]:
        """Put a message with this subject and text into a mailbox; as ``command``."""
        message = b"Subject: %b\r\n\r\n%b\r\n" % (text.encode(), text.encode())
        return self.command(b"p APPEND %b (%b) {%d+}\r\n%b" % (mailbox, flags, len(message), message))


class MemoryWires:
    """All clients of one account."""

    def __init__(self, root: Path | Account, policy: Policy = POLICY) -> None:
        self.account = root if isinstance(root, Account) else Account(bytes(root), fsync="never")
        self.policy = policy
        self.clients: list[MemoryClient] = []

    def connect(self, *, login: bool) -> MemoryClient:
        client = MemoryClient(self.account, self.policy)
        client.read_line()
        if login:
            assert client.command(b"L LOGIN ann secret")[-1].startswith(b"L OK")
        self.clients.append(client)
        return client

    def changed(self) -> None:
        """What the watch thread does in a server."""
        self.account.names.changed()
        for client in self.clients:
            session = client.session
            if session.view is not None and (session.idling or session.notify is not None):
                _look(session.view.mailbox, keep_new=False)
                client.woken = True
            if session.notify is not None:
                for mailbox in session.notify.mailboxes:
                    _look(mailbox, keep_new=mailbox.keep_new)


def _look(mailbox: Mailbox, *, keep_new: bool) -> None:
    """See what there is; who listens hears it when the folder is gone."""
    with contextlib.suppress(MailboxMissing):
        mailbox.sync(keep_new=keep_new)
