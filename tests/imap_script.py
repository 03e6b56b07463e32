r"""Protocol scripts: several clients in one text, run in memory or over sockets.

A script is lines:

    # a comment
    ! messages INBOX 3            three small messages in cur/
    ! message INBOX FS            one message with flags; its lines follow, each behind "| "
    ! deliver INBOX               the same into new/, at any time: as an MDA does
    ! mailbox Work                an empty folder
    ! reflag INBOX 2 FS           rename the second file of the folder, as another program does
    ! remove INBOX 2              unlink it
    ! file maildirsize            a file in the root of the spool; its lines follow
    ! connect 3                   the third client is connected but not logged in
    1 C: a1 SELECT INBOX          client 1 sends a line
    1 C> abc                      client 1 sends octets without a line end (escapes as in Python)
    1 S: * 3 EXISTS               client 1 receives a line: all lines, in their order
    1 S: a1 OK ...                "..." at the end stands for the rest of the line
    1 S: * OK [UIDVALIDITY {{v=\d+}}] ...    {{regex}}, or {{name=regex}}, used later as $name; $user is there
    1 S* * 3 EXISTS               like S:, but lines before it are skipped
    1 closed                      the server has closed the connection

Clients that a script names are connected and logged in by themselves, their greeting and login read away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from spool import Spool

USER = "ann"
PASSWORD = "secret"


class Client(Protocol):
    """One connection, however it is made."""

    def send(self, data: bytes) -> None: ...

    def read_line(self) -> bytes | None:
        """The next line without its CRLF; None when the connection is closed."""
        ...

    def unread(self) -> bytes:
        """What has arrived and nobody has asked for."""
        ...


class Wires(Protocol):
    """Where clients come from."""

    def connect(self, *, login: bool) -> Client: ...

    def changed(self) -> None:
        """The spool was changed from outside."""
        ...


@dataclass
class Runner:
    """One run of one script."""

    spool: Spool
    wires: Wires
    variables: dict[str, str] = field(default_factory=dict)
    clients: dict[str, Client] = field(default_factory=dict)

    def run(self, path: Path) -> None:
        """Run a script; raises AssertionError with the place."""
        lines = path.read_text(encoding="utf-8").splitlines()
        k = 0
        while k < len(lines):
            line = lines[k]
            where = f"{path.name}:{k + 1}"
            k += 1
            if not line.strip() or line.startswith("#"):
                continue
            if line.startswith("! "):
                body = []
                while k < len(lines) and lines[k].startswith("|"):
                    body.append(lines[k][2:])
                    k += 1
                self._directive(line[2:].split(), body, where)
                continue
            match = re.match(r"(\d+) (C:|C>|S:|S\*|closed) ?(.*)", line)
            assert match, f"{where}: cannot read {line!r}"
            name, kind, text = match.groups()
            client = self.clients.get(name)
            if client is None:
                client = self.clients[name] = self.wires.connect(login=True)
            for variable, value in self.variables.items():
                text = text.replace("$" + variable, value)
            if kind in ("C:", "C>"):
                left = client.unread()
                assert not left, f"{where}: client {name} was sent {left!r} that the script does not expect"
                octets = text.encode("utf-8")
                if kind == "C>":
                    octets = octets.decode("unicode_escape").encode("latin-1")
                client.send(octets + (b"\r\n" if kind == "C:" else b""))
            elif kind == "closed":
                got = client.read_line()
                assert got is None, f"{where}: expected the connection to be closed, got {got!r}"
            else:
                self._expect(client, text, where, skip=kind == "S*")
        for name, client in self.clients.items():
            left = client.unread()
            assert not left, f"{path.name}: at the end client {name} was sent {left!r}"

    def _expect(self, client: Client, text: str, where: str, *, skip: bool) -> None:
        pattern = compile_line(text)
        skipped = []
        while True:
            got = client.read_line()
            assert got is not None, f"{where}: expected {text!r}, but the connection is closed; skipped {skipped}"
            shown = got.decode("utf-8", "backslashreplace")
            match = pattern.fullmatch(shown)
            if match:
                self.variables.update(match.groupdict())
                return
            assert skip, f"{where}:\n  expected {text}\n  received {shown}"
            skipped.append(shown)

    def _directive(self, words: list[str], body: list[str], where: str) -> None:
        data = "".join(line + "\n" for line in body).encode()
        match words:
            case ["messages", name, count]:
                self.spool.simple(name, int(count))
            case ["message", name, *flags]:
                self.spool.put(name, data, flags[0] if flags else "")
            case ["deliver", name]:
                self.spool.put(name, data or b"Subject: new\n\nnews\n", None)
            case ["mailbox", name]:
                self.spool.folder(name)
            case ["reflag", name, n, *flags]:
                base = self.spool.files(name)[int(n) - 1].split(":")[0]
                self.spool.reflag(name, base, flags[0] if flags else "")
            case ["remove", name, n]:
                self.spool.remove(name, self.spool.files(name)[int(n) - 1].split(":")[0])
            case ["file", name]:
                (self.spool.root / name).write_bytes(data)
            case ["connect", client]:
                self.clients[client] = self.wires.connect(login=False)
            case _:
                raise AssertionError(f"{where}: unknown directive {words}")
        self.wires.changed()


def compile_line(text: str) -> re.Pattern[str]:
    """Turn an expected line into an expression."""
    rest = ""
    if text.endswith("..."):
        text, rest = text[:-3].removesuffix(" "), ".*"
    parts = []
    for piece in re.split(r"(\{\{.*?\}\})", text):
        if piece.startswith("{{"):
            named = re.fullmatch(r"([a-z][a-z0-9]*)=(.*)", piece[2:-2])
            parts.append(f"(?P<{named[1]}>{named[2]})" if named else f"(?:{piece[2:-2]})")
        else:
            parts.append(re.escape(piece))
    return re.compile("".join(parts) + rest, re.DOTALL)
