"""Command lines of LMTP read into values (RFC 2033, RFC 5321 4.1, RFC 3030); pure, and linear in the line.

More is taken than the grammar has where nothing else can be meant: blanks after the colon, dots anywhere in a local
part, names without a domain.
"""

from __future__ import annotations

import re
from typing import Final

from maildir_imapd.lmtp.answers import Answer, BadCommand
from maildir_imapd.lmtp.commands import NOBODY, Bare, Bdat, EnvelopeAddress, Lhlo, LmtpCommand, MailFrom, RcptTo

UNKNOWN: Final = Answer(500, "5.5.1", "Unknown command")
NOT_SMTP: Final = Answer(500, "5.5.1", "This is LMTP: say LHLO")
NO_ARGUMENT: Final = Answer(501, "5.5.4", "Unexpected argument")
BAD_LHLO: Final = Answer(501, "5.5.4", "Expected LHLO and a name")
BAD_SENDER: Final = Answer(501, "5.1.7", "Expected MAIL FROM:<address>")
BAD_RECIPIENT: Final = Answer(501, "5.1.3", "Expected RCPT TO:<address>")
BAD_CHUNK: Final = Answer(501, "5.5.4", "Expected BDAT, a number of octets, and perhaps LAST")
BAD_PARAMETER: Final = Answer(501, "5.5.4", "A parameter has no such value")
OTHER_PARAMETER: Final = Answer(555, "5.5.4", "A parameter is not known here")
NEEDS_UTF8: Final = Answer(553, "5.6.7", "This address needs SMTPUTF8")
NOT_UTF8: Final = Answer(553, "5.6.7", "This address is no UTF-8")

# RFC 5321 4.5.3.1 wants 256 for a path.
PATH_OCTETS: Final = 1024
_SIZE_DIGITS: Final = 20

_NAME: Final = re.compile(rb"[!-~\x80-\xff]{1,255}").fullmatch
_PATH: Final = re.compile(
    rb"<(?:@[^:<> ]*+:)?"
    rb'(?:([A-Za-z0-9!#$%&\'*+/=?^_`{|}~.\x80-\xff-]++)|"((?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*+)")'
    rb"(?:@([A-Za-z0-9._\x80-\xff-]++|\[[!-Z^-~]++\]))?>"
).match
_ROUTE: Final = re.compile(rb"@[^:]*:").match
_QUOTED: Final = re.compile(rb"\\(.)", re.DOTALL).sub
_PARAMETER: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\xff]++))?").fullmatch
_CHUNK: Final = re.compile(rb"([0-9]{1,20})( +LAST)?", re.IGNORECASE).fullmatch


def parse(line: bytes) -> LmtpCommand:
    """Read a line without its CRLF; raises BadCommand."""
    name, _, rest = line.partition(b" ")
    name = name.upper()
    match name:
        case b"LHLO":
            host = rest.strip(b" ")
            if not _NAME(host):
                raise BadCommand(BAD_LHLO)
            return Lhlo(host)
        case b"MAIL":
            return _mail(rest)
        case b"RCPT":
            address, parameters = _path(rest, b"TO:", BAD_RECIPIENT)
            if address is NOBODY:
                raise BadCommand(BAD_RECIPIENT)
            if parameters:
                raise BadCommand(OTHER_PARAMETER)
            return RcptTo(address)
        case b"BDAT":
            found = _CHUNK(rest.strip(b" "))
            if found is None:
                # How much of what follows is no command nobody can tell.
                raise BadCommand(BAD_CHUNK, ends=True)
            return Bdat(int(found[1]), bool(found[2]))
        case b"DATA" | b"RSET" | b"QUIT":
            if rest.strip(b" "):
                raise BadCommand(NO_ARGUMENT)
            return Bare(name)
        case b"NOOP" | b"VRFY":
            return Bare(name)
        case b"HELO" | b"EHLO":
            raise BadCommand(NOT_SMTP)
    raise BadCommand(UNKNOWN)


def demand_utf8(address: EnvelopeAddress, *, allowed: bool) -> None:
    """Raise BadCommand for an address that is not ASCII, unless it is *allowed* and UTF-8 (RFC 6531 3.3)."""
    if address.written.isascii():
        return
    if not allowed:
        raise BadCommand(NEEDS_UTF8)
    try:
        address.written.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCommand(NOT_UTF8) from None


def _mail(rest: bytes) -> MailFrom:
    address, parameters = _path(rest, b"FROM:", BAD_SENDER)
    octets, utf8 = 0, False
    for name, value in parameters:
        match name:
            case b"SIZE":
                if not value.isdigit() or len(value) > _SIZE_DIGITS:
                    raise BadCommand(BAD_PARAMETER)
                octets = int(value)
            case b"BODY":
                if value.upper() not in (b"7BIT", b"8BITMIME"):
                    raise BadCommand(BAD_PARAMETER)
            case b"SMTPUTF8":
                if value:
                    raise BadCommand(BAD_PARAMETER)
                utf8 = True
            case _:
                raise BadCommand(OTHER_PARAMETER)
    demand_utf8(address, allowed=utf8)
    return MailFrom(address, octets, utf8)


def _path(rest: bytes, word: bytes, wrong: Answer) -> tuple[EnvelopeAddress, list[tuple[bytes, bytes]]]:
    """Take a path off, behind *word*, and the parameters behind it."""
    if rest[: len(word)].upper() != word:
        raise BadCommand(wrong)
    rest = rest[len(word) :].lstrip(b" ")
    if rest.startswith(b"<>"):
        address, left = NOBODY, rest[2:]
    else:
        found = _PATH(rest)
        if found is None or found.end() > PATH_OCTETS:
            raise BadCommand(wrong)
        plain, quoted, domain = found.groups()
        local = plain if plain is not None else _QUOTED(rb"\1", quoted)
        written = rest[1 : found.end() - 1]
        route = _ROUTE(written)
        address = EnvelopeAddress(written[route.end() :] if route else written, local, domain or b"")
        left = rest[found.end() :]
    if left and not left.startswith(b" "):
        raise BadCommand(wrong)
    parameters = []
    for each in left.split():
        read = _PARAMETER(each)
        if read is None:
            raise BadCommand(BAD_PARAMETER)
        parameters.append((read[1].upper(), read[2] or b""))
    return address, parameters
