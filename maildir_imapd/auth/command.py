"""The back end that asks a program, in the manner of checkpassword.

The program reads the name, the password and a number, each with a NUL behind it, from descriptor 3.  When they are
right it becomes what it was given as arguments, with what it knows of the user in the environment; otherwise it ends:
with 1 or 3 for what is wrong, with anything else for what cannot be known now.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Identity, Password
from maildir_imapd.auth.beside import DOWN, RIGHT, WRONG, Answer, CheckedBeside
from maildir_imapd.auth.waiting import Until
from maildir_imapd.errors import AuthenticationFailed, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What the program becomes: it says who it is by now, and what is in its environment.
_REPLY: Final = ("/bin/sh", "-c", "id -u; id -g; exec env -0")
_REPLY_OCTETS: Final = 1 << 16
_WRONG: Final = (1, 3)


class CheckCommand(CheckedBeside):
    """Password by the program that *questions* asks."""

    name = "command"

    def _ask(self, user: str, credential: Password) -> Identity:
        return said(user, self._questions.put(user, credential.password))


def said(user: str, reply: bytes) -> Identity:
    """Read what the program has said; raises AuthenticationFailed for ``nologin``, Unavailable for nonsense."""
    uid, _, rest = reply.decode("utf-8", "surrogateescape").partition("\n")
    gid, _, rest = rest.partition("\n")
    words = dict(word.partition("=")[::2] for word in rest.split("\0") if "=" in word)
    # Of the environment only what is a field, in Dovecot's way: userdb_mail, and names of EXTRA.
    extra = set(words.get("EXTRA", "").split())
    known = {name: value for name, value in words.items() if name.startswith("userdb_") or name in extra}
    if not fields.may_log_in(known):
        raise AuthenticationFailed
    if uid.isdigit() and uid != "0":
        known = {"uid": uid, "gid": gid} | known  # the program has become the user
    try:
        return fields.identity(words.get("USER") or user, {"home": words.get("HOME", ""), **known})
    except ValueError as error:
        log.error("what the command says cannot be used", user=user, why=error)
        raise Unavailable(detail=str(error)) from error


def answer(words: Sequence[str]) -> Answer:
    """Return what runs the program *words*, in a process of its own: a name and a password to what it says of him."""

    def asked(parts: Sequence[bytes], until: Until) -> bytes:
        user, password = parts
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        question, to = os.pipe()
        out, reply = os.pipe()
        os.write(to, b"\0".join((user, password, str(int(time.time())).encode(), b"")))
        os.close(to)
        os.chdir("/")
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):  # that of the list itself is closed by now
                # What whoever started the server had open, and let every program of his have, is none of its.
                os.set_inheritable(int(name), False)
        numbers = (nothing, reply, nothing, question)
        places = [(os.POSIX_SPAWN_DUP2, number, place) for place, number in enumerate(numbers)]
        try:
            child = os.posix_spawnp(words[0], [*words, *_REPLY], {"PATH": _PATH}, file_actions=places)
        except OSError as error:
            return DOWN + f"{words[0]}: {error.strerror}".encode()
        for number in (nothing, question, reply):
            os.close(number)
        said = _read(out, until)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == 0 and said:
            return RIGHT + said
        if code in _WRONG:
            return WRONG
        return DOWN + f"{words[0]}: ended with {code}".encode()

    return asked


def _read(out: int, until: Until) -> bytes:
    """Read all that is said; b"" for too much."""
    poll = select.poll()
    poll.register(out, select.POLLIN)
    said = b""
    while poll.poll(until.left * 1000):
        more = os.read(out, 1 << 16)
        if not more:
            return said
        said += more
        if len(said) > _REPLY_OCTETS:
            return b""
    return b""
