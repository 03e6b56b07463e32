"""Talking to the running server: what status, who, kick and the others have in common."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import click

from maildir_imapd.cli.group import NO_PERMISSION, UNAVAILABLE, CommandFailed
from maildir_imapd.cli.options import config_option, read_config
from maildir_imapd.server.control_protocol import VERSION, places

socket_option = click.option(
    "--socket",
    "socket_path",
    metavar="PATH",
    help="The server's control socket. Default: as control_socket in the configuration says.",
)


def asking(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options by which it finds the server."""
    return config_option(socket_option(function))


class RunningServer:
    """A connection to the running server; raises CommandFailed for everything that goes wrong."""

    def __init__(self, config_file: str | None, socket_path: str | None, *, timeout: float | None = 30.0) -> None:
        if socket_path is not None:
            tried = [socket_path]
        else:
            tried = places(read_config(config_file, {}, forgiving=True).control_socket)
        if not tried:
            raise CommandFailed("the server has no control socket (control_socket = none)", UNAVAILABLE)
        self._sock = _connected(tried, timeout)
        self._lines = self._sock.makefile("rb")

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Ask and return the result."""
        for said in self.stream(command, **fields):
            if "result" in said:
                return dict(said["result"])
        raise CommandFailed("the server closed the connection without an answer", UNAVAILABLE)

    def stream(self, command: str, **fields: Any) -> Iterator[dict[str, Any]]:
        """Ask and yield what is said, ``result`` last, until the server ends it."""
        request = {"version": VERSION, "command": command, **fields}
        try:
            self._sock.sendall(json.dumps(request).encode() + b"\n")
            for line in self._lines:
                said = json.loads(line)
                if "error" in said:
                    raise CommandFailed(str(said["error"]["text"]), int(said["error"].get("status", 1)))
                yield said
                if "result" in said:
                    return
        except TimeoutError:
            raise CommandFailed("the server does not answer", UNAVAILABLE) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = getattr(error, "strerror", None) or error
            raise CommandFailed(f"the server's answer broke off: {why}", UNAVAILABLE) from error

    def wait_for_the_end(self) -> bool:
        """Wait until the server has closed its end, and say whether it has in time."""
        try:
            while self._sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass  # reset: it has ended
        return True

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._sock.close()


def _connected(tried: list[str], timeout: float | None) -> socket.socket:
    why: list[tuple[str, OSError]] = []
    for path in tried:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            why.append((path, error))
        else:
            return sock
    # What may not be asked matters more than what is not there.
    path, found = next((each for each in why if isinstance(each[1], PermissionError)), why[0])
    if isinstance(found, PermissionError):
        raise CommandFailed(f"you may not ask the server at {path}", NO_PERMISSION)
    rest = "".join(f", nor at {other}" for other, _ in why if other != path)
    raise CommandFailed(f"no server answers at {path} ({found.strerror or found}){rest}", UNAVAILABLE)
