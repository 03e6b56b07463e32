"""A message to a user whose mail was opened from where it never was: by another program, or in another network.

A device is what can be told apart without a word of the user's: the program's name by ID, without its version, and the
surroundings of its address.  What is known is a file beside INBOX, so all workers and hosts know the same.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTPUTF8
from email.utils import format_datetime, localtime, make_msgid
from string import Template
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.base import address
from maildir_imapd.errors import ConfigError, ImapdError
from maildir_imapd.events import Log
from maildir_imapd.store.records.seen import Newness, Seen, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from maildir_imapd.store.account import Account

log = Log(__name__)

# Of a day; whoever tries programs and networks one by one fills no mailbox.
MOST: Final = 10
WITHIN_SECONDS: Final = 24 * 3600
# How much of an address stands for where somebody is: a telephone's changes within that all day.
_PREFIX_IPV4: Final = 16
_PREFIX_IPV6: Final = 32
_VERSION: Final = re.compile(r"[\s/(]+v?\d.*\Z")
_FIELDS: Final = ("user", "address", "program", "time", "server")

TEXT: Final = """Subject: New device: $program at $address

Somebody has logged in as $user from a device or a place that is new here.

    Program: $program
    Address: $address
    Time:    $time
    Server:  $server

If it was you, there is nothing to do. If not, change your password now, and tell whoever runs the server.
"""


@dataclass(frozen=True, slots=True)
class DeviceMessage:
    """The text of the message: header fields, an empty line, and what it says, with ``$name`` for what is known."""

    text: str = TEXT

    def __post_init__(self) -> None:
        """Raise ConfigError for one that cannot be filled in."""
        try:
            self.filled(dict.fromkeys(_FIELDS, "x"))
        except (KeyError, ValueError) as error:
            names = ", ".join(f"${name}" for name in _FIELDS)
            raise ConfigError(f"new_device_message: {error} is not there; there are {names}") from error

    def filled(self, known: Mapping[str, str]) -> bytes:
        """Make the message, with LF at the ends of lines; raises KeyError, ValueError."""
        head, _, body = self.text.partition("\n\n")
        message = EmailMessage(policy=SMTPUTF8.clone(linesep="\n"))
        for line in head.splitlines():
            name, colon, value = line.partition(":")
            if not colon:
                raise ValueError(f"header line {line!r}")
            message[name] = Template(value.strip()).substitute(known)
        user, server = known["user"], known["server"]
        usual = {
            "From": f"postmaster@{user.partition('@')[2] or server}",
            "To": user if "@" in user else f"{user}@{server}",
            "Date": format_datetime(localtime()),
            "Message-ID": make_msgid(domain=server),
            "Auto-Submitted": "auto-generated",
        }
        for name, value in usual.items():
            if name not in message:
                message[name] = value
        message.set_content(Template(body).substitute(known))
        return message.as_bytes()


def surroundings(host: str) -> str | None:
    """Say where about an address is; None for one of this machine, and for what is no address."""
    found = address(host)
    if found is None or found.is_loopback:
        return None
    prefix = _PREFIX_IPV4 if found.version == 4 else _PREFIX_IPV6
    return str(ipaddress.ip_network((found, prefix), strict=False))


class Newcomer:
    """One login: it is judged once the client has said its program, or at its end.  Of one thread.

    *name*: the device by whose own password he has come, "" for none.
    """

    def __init__(self, message: DeviceMessage, user: str, account: Account, host: str, name: str = "") -> None:
        self._message = message
        self._user = user
        self._account: Account | None = account
        self._host = host
        self._name = name

    def used(self, program: str) -> None:
        """Take what the client says of itself; as ``Access.used``."""
        if program:
            self.judge(program)

    def judge(self, program: str = "") -> None:
        """Tell the user if it is new; once, and never an error."""
        account, self._account = self._account, None
        where = surroundings(self._host)
        if account is None or where is None:
            return
        name = field(_VERSION.sub("", program))
        # A password of its own says better than anything which device it is.
        device = Seen(int(time.time()), *(("", field(self._name)) if self._name else (where, name)))
        try:
            if account.seen.note(device, most=MOST, within_seconds=WITHIN_SECONDS) is Newness.NEW:
                self._tell(account, field(program) or self._name or "unknown")
        except (ImapdError, OSError, ValueError) as error:
            log.warning("new device is not told", user=self._user, why=error)

    def _tell(self, account: Account, program: str) -> None:
        known = {
            "user": field(self._user),
            "address": field(self._host),
            "program": program,
            "time": format_datetime(localtime()),
            "server": socket.gethostname(),
        }
        mailbox = account.mailbox("INBOX")
        delivery = mailbox.deliver()
        delivery.write(self._message.filled(known))
        mailbox.commit([(delivery, mailbox.flags((), create=False), int(time.time()))])
        log.info("new device", user=self._user, address=self._host, program=program)
