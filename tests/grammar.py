"""Every octet a server sends, held against the grammar: for tests that believe nothing.

``Cutter`` cuts whole responses out of a stream, ``parse`` makes a ``Response`` of one or raises ``Ungrammatical``,
which says where.  The rules are those of RFC 9051 section 9 and RFC 3501 section 9, with the extensions a client of
the stress test can provoke; what stands in none of them is an error, also a code or a word of STATUS nobody knows.
It shares no line with the server's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX32 = 2**32 - 1
MAX63 = 2**63 - 1


class Ungrammatical(Exception):
    """A response that no rule allows."""

    def __init__(self, what: str, data: bytes, at: int) -> None:
        before, after = data[max(0, at - 60) : at], data[at : at + 80]
        super().__init__(f"{what} at octet {at} of {len(data)}: {before!r} >>> {after!r}")


@dataclass
class Response:
    """*tag*: "*", "+" or a tag; *name*: in capitals; *number*: before the name; *code*: of a status response.

    *data*: of FETCH a dict, of the others what their rule says.
    """

    tag: str
    name: str
    number: int = 0
    code: str = ""
    code_data: Any = None
    text: bytes = b""
    data: Any = None
    raw: bytes = field(default=b"", repr=False)

    @property
    def is_tagged(self) -> bool:
        return self.tag not in "*+"


class Cutter:
    """Cuts a stream of octets into whole responses, literals included."""

    _LITERAL = re.compile(rb"~?\{(\d+)\}\Z")
    _NO_LITERAL = re.compile(rb"(?:\+|\S+ (?:OK|NO|BAD|BYE|PREAUTH) )")

    def __init__(self) -> None:
        self._in = bytearray()
        self._from = 0  # up to here the response under way has been looked at

    def feed(self, data: bytes) -> None:
        self._in += data

    @property
    def rest(self) -> bytes:
        """What came after the last whole response."""
        return bytes(self._in)

    def next(self) -> bytes | None:
        """The next response, or None if it is not whole yet."""
        while True:
            end = self._in.find(b"\n", self._from)
            if end < 0:
                return None
            line = self._in[self._from : end - 1 if end and self._in[end - 1] == 13 else end]
            match = self._LITERAL.search(line[-16:])
            if match and not (self._from == 0 and self._NO_LITERAL.match(line)):
                wanted = end + 1 + int(match[1])
                if len(self._in) < wanted:
                    return None
                self._from = wanted
                continue
            whole = bytes(self._in[: end + 1])
            del self._in[: end + 1]
            self._from = 0
            return whole


class _Cursor:
    """Where the parser stands in one response."""

    __slots__ = ("at", "data", "utf8")

    def __init__(self, data: bytes, utf8: bool) -> None:
        self.data = data
        self.at = 0
        self.utf8 = utf8

    def wrong(self, what: str) -> Ungrammatical:
        return Ungrammatical(f"expected {what}", self.data, self.at)

    def eat(self, octets: bytes) -> None:
        if not self.data.startswith(octets, self.at):
            raise self.wrong(repr(octets))
        self.at += len(octets)

    def take(self, octets: bytes) -> bool:
        if self.data.startswith(octets, self.at):
            self.at += len(octets)
            return True
        return False

    def match(self, pattern: re.Pattern[bytes], what: str) -> bytes:
        found = pattern.match(self.data, self.at)
        if found is None:
            raise self.wrong(what)
        self.at = found.end()
        return found[0]

    def peek(self) -> bytes:
        return self.data[self.at : self.at + 1]


_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")  # any CHAR except atom-specials
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")
_NUMBER = re.compile(rb"0|[1-9][0-9]*")
_QUOTED = re.compile(rb'"((?:[\x01-\x09\x0b\x0c\x0e-!#-\[\]-\x7f\x80-\xff]|\\["\\])*)"')
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_LITERAL8 = re.compile(rb"~\{(\d+)\}\r\n")
_SET = re.compile(rb"[1-9][0-9]*(?::[1-9][0-9]*)?(?:,[1-9][0-9]*(?::[1-9][0-9]*)?)*")
_TEXT = re.compile(rb"[^\x00\r\n\x80-\xff]+")
_TEXT8 = re.compile(rb"[^\x00\r\n]+")
_CODE_TEXT = re.compile(rb"[^\x00\r\n\]\x80-\xff]+")
_WORD = re.compile(rb"[A-Z][A-Z0-9.-]*")
_DATE = re.compile(
    rb'"(?: [1-9]|[0-3][0-9])-(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)-[0-9]{4} '
    rb'[0-2][0-9]:[0-5][0-9]:[0-6][0-9] [+-][0-9]{4}"'
)
_TAG = re.compile(rb"[!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")
_SECTION = re.compile(
    rb"(?:[1-9][0-9]*(?:\.[1-9][0-9]*)*)?"
    rb"(?:(?:(?<=[0-9])\.)?(?:HEADER|TEXT|MIME|HEADER\.FIELDS(?:\.NOT)? \([^)\r\n]*\)))?\]"
)


def _number(c: _Cursor, most: int = MAX32, *, least: int = 0) -> int:
    value = int(c.match(_NUMBER, "a number"))
    if not least <= value <= most:
        raise c.wrong(f"a number from {least} to {most}, not {value},")
    return value


def _nz(c: _Cursor) -> int:
    return _number(c, least=1)


def _string(c: _Cursor) -> bytes:
    start = c.peek()
    if start == b'"':
        found = _QUOTED.match(c.data, c.at)
        if found is None:
            raise c.wrong("a quoted string")
        if not found[1].isascii():
            if not c.utf8:
                raise c.wrong("no 8-bit octet in a quoted string")
            found[1].decode("utf-8")
        c.at = found.end()
        return re.sub(rb"\\(.)", rb"\1", found[1]) if b"\\" in found[1] else found[1]
    found = _LITERAL.match(c.data, c.at)
    if found is None:
        raise c.wrong("a string")
    c.at = found.end() + int(found[1])
    value = c.data[found.end() : c.at]
    if len(value) != int(found[1]):
        raise c.wrong("a whole literal")
    if b"\0" in value:
        raise c.wrong("no NUL in a literal")
    return value


def _nstring(c: _Cursor) -> bytes | None:
    return None if c.take(b"NIL") else _string(c)


def _nstring8(c: _Cursor) -> bytes | None:
    found = _LITERAL8.match(c.data, c.at)
    if found is None:
        return _nstring(c)
    c.at = found.end() + int(found[1])
    return c.data[found.end() : c.at]


def _astring(c: _Cursor) -> bytes:
    if c.peek() in (b'"', b"{"):
        return _string(c)
    return c.match(_ASTRING, "an astring")


def _atom(c: _Cursor) -> bytes:
    return c.match(_ATOM, "an atom")


def _list(c: _Cursor, item: Callable[[_Cursor], Any], *, least: int = 0) -> list[Any]:
    c.eat(b"(")
    found = []
    if not c.take(b")"):
        found.append(item(c))
        while c.take(b" "):
            found.append(item(c))
        c.eat(b")")
    if len(found) < least:
        raise c.wrong(f"{least} or more before this")
    return found


def _flag(c: _Cursor) -> str:
    return c.match(_FLAG, "a flag").decode()


def _flag_perm(c: _Cursor) -> str:
    return "\\*" if c.take(b"\\*") else _flag(c)


def _set(c: _Cursor) -> list[tuple[int, int]]:
    """A sequence set without ``*``, in its own order."""
    found = []
    for part in c.match(_SET, "a set of numbers").split(b","):
        low, _, high = part.partition(b":")
        pair = int(low), int(high or low)
        if pair[0] > MAX32 or pair[1] > MAX32:
            raise c.wrong("numbers of 32 bits before this")
        found.append(pair)
    return found


def numbers(ranges: list[tuple[int, int]]) -> list[int]:
    """All numbers of a set, in its order."""
    return [n for low, high in ranges for n in range(low, high + 1)]


# --- status responses -----------------------------------------------------------------------------

_PLAIN_CODES = frozenset(
    {
        "ALERT",
        "PARSE",
        "READ-ONLY",
        "READ-WRITE",
        "TRYCREATE",
        "UIDNOTSTICKY",
        "UNAVAILABLE",
        "AUTHENTICATIONFAILED",
        "AUTHORIZATIONFAILED",
        "EXPIRED",
        "PRIVACYREQUIRED",
        "CONTACTADMIN",
        "NOPERM",
        "INUSE",
        "EXPUNGEISSUED",
        "CORRUPTION",
        "SERVERBUG",
        "CLIENTBUG",
        "CANNOT",
        "LIMIT",
        "OVERQUOTA",
        "ALREADYEXISTS",
        "NONEXISTENT",
        "NOTSAVED",
        "HASCHILDREN",
        "CLOSED",
        "UNKNOWN-CTE",
        "NOMODSEQ",
        "USEATTR",
        "TOOBIG",
        "NOTIFICATIONOVERFLOW",
        "COMPRESSIONACTIVE",
        "BADCOMPARATOR",
        "TEMPFAIL",
        "MAXCONVERTMESSAGES",
        "UIDREQUIRED",
        "TOOFEW",
        "TOOMANY",
    }
)


def _code(c: _Cursor) -> tuple[str, Any]:
    name = c.match(_WORD, "a response code").decode()
    if name in _PLAIN_CODES:
        return name, None
    value: Any = None
    match name:
        case "CAPABILITY":
            c.eat(b" ")
            value = _capabilities(c, rb"\]")
        case "PERMANENTFLAGS":
            c.eat(b" ")
            value = _list(c, _flag_perm)
        case "UIDNEXT" | "UIDVALIDITY" | "UNSEEN":
            c.eat(b" ")
            value = _nz(c)
        case "MESSAGELIMIT":
            c.eat(b" ")
            value = _nz(c), _nz(c) if c.take(b" ") else None
        case "HIGHESTMODSEQ":
            c.eat(b" ")
            value = _number(c, MAX63, least=1)
        case "APPENDUID":
            c.eat(b" ")
            validity = _nz(c)
            c.eat(b" ")
            value = validity, numbers(_set(c))
        case "COPYUID":
            c.eat(b" ")
            validity = _nz(c)
            c.eat(b" ")
            olds = numbers(_set(c))
            c.eat(b" ")
            news = numbers(_set(c))
            if len(olds) != len(news):
                raise c.wrong("as many new UIDs as old ones")
            value = validity, olds, news
        case "MODIFIED":
            c.eat(b" ")
            value = numbers(_set(c))
        case "MAILBOXID":
            c.eat(b" ")
            value = _list(c, _object_id, least=1)[0]
        case "BADCHARSET":
            if c.take(b" "):
                value = _list(c, _astring, least=1)
        case "BADEVENT":
            c.eat(b" ")
            value = _list(c, _atom, least=1)
        case "INPROGRESS":
            if c.take(b" "):
                c.eat(b"(")
                value = _string(c)
                for _ in range(2):
                    c.eat(b" ")
                    if not c.take(b"NIL"):
                        _number(c)
                c.eat(b")")
        case "METADATA":
            c.eat(b" ")
            value = c.match(re.compile(rb"LONGENTRIES [0-9]+|MAXSIZE [0-9]+|TOOMANY|NOPRIVATE"), "a METADATA code")
        case "BADURL" | "REFERRAL" | "UNDEFINED-FILTER":
            c.eat(b" ")
            value = c.match(_CODE_TEXT, "text")
        case _:
            raise c.wrong(f"a known response code, not {name},")
    return name, value


def _object_id(c: _Cursor) -> bytes:
    return c.match(re.compile(rb"[A-Za-z0-9_-]{1,255}"), "an object identifier")


def _status(c: _Cursor, response: Response) -> None:
    c.eat(b" ")
    if c.take(b"["):
        response.code, response.code_data = _code(c)
        c.eat(b"]")
        c.eat(b" ")
    response.text = c.match(_TEXT8 if c.utf8 else _TEXT, "text")


# --- FETCH ------------------------------------------------------------------------------------------


def _address(c: _Cursor) -> tuple[bytes | None, ...]:
    c.eat(b"(")
    parts = [_nstring(c)]
    for _ in range(3):
        c.eat(b" ")
        parts.append(_nstring(c))
    c.eat(b")")
    return tuple(parts)


def _addresses(c: _Cursor) -> list[tuple[bytes | None, ...]]:
    if c.take(b"NIL"):
        return []
    c.eat(b"(")
    found = [_address(c)]
    while c.peek() == b"(":
        found.append(_address(c))
    c.eat(b")")
    return found


def _envelope(c: _Cursor) -> list[Any]:
    c.eat(b"(")
    found: list[Any] = [_nstring(c)]
    c.eat(b" ")
    found.append(_nstring(c))
    for _ in range(6):
        c.eat(b" ")
        found.append(_addresses(c))
    for _ in range(2):
        c.eat(b" ")
        found.append(_nstring(c))
    c.eat(b")")
    return found


def _parameters(c: _Cursor) -> list[bytes]:
    if c.take(b"NIL"):
        return []
    found: list[bytes] = _list(c, _string, least=2)
    if len(found) % 2:
        raise c.wrong("an even number of strings before this")
    return found


def _extension_data(c: _Cursor) -> None:
    """What may follow a body: disposition, language, location, and what nobody knows yet."""
    if not c.take(b" "):
        return
    if not c.take(b"NIL"):  # body-fld-dsp
        c.eat(b"(")
        _string(c)
        c.eat(b" ")
        _parameters(c)
        c.eat(b")")
    if not c.take(b" "):
        return
    if c.peek() == b"(":
        _list(c, _string, least=1)
    else:
        _nstring(c)
    if c.take(b" "):
        _nstring(c)


def _body(c: _Cursor) -> str:
    c.eat(b"(")
    if c.peek() == b"(":
        while c.peek() == b"(":
            _body(c)
        c.eat(b" ")
        subtype = _string(c)
        if c.take(b" "):
            _parameters(c)
            _extension_data(c)
        c.eat(b")")
        return "multipart/" + subtype.decode("ascii").lower()
    kind = _string(c).decode("ascii").lower()
    c.eat(b" ")
    kind += "/" + _string(c).decode("ascii").lower()
    c.eat(b" ")
    _parameters(c)
    for _ in range(2):
        c.eat(b" ")
        _nstring(c)
    c.eat(b" ")
    _string(c)
    c.eat(b" ")
    _number(c)
    if kind.startswith("text/"):
        c.eat(b" ")
        _number(c, MAX63)
    elif kind in ("message/rfc822", "message/global"):
        c.eat(b" ")
        _envelope(c)
        c.eat(b" ")
        _body(c)
        c.eat(b" ")
        _number(c, MAX63)
    if c.take(b" "):
        _nstring(c)
        _extension_data(c)
    c.eat(b")")
    return kind


def _modseq(c: _Cursor) -> int:
    c.eat(b"(")
    value = _number(c, MAX63, least=1)
    c.eat(b")")
    return value


def _date(c: _Cursor) -> bytes:
    return c.match(_DATE, "a date")


_ATTRIBUTE = re.compile(rb"[A-Z][A-Z0-9.]*")
_ATTRIBUTES: dict[bytes, Callable[[_Cursor], Any]] = {
    b"UID": _nz,
    b"FLAGS": lambda c: _list(c, _flag),
    b"MODSEQ": _modseq,
    b"RFC822.SIZE": lambda c: _number(c, MAX63),
    b"INTERNALDATE": _date,
    b"SAVEDATE": lambda c: None if c.take(b"NIL") else _date(c),
    b"ENVELOPE": _envelope,
    b"BODYSTRUCTURE": _body,
    b"RFC822": _nstring,
    b"RFC822.HEADER": _nstring,
    b"RFC822.TEXT": _nstring,
    b"EMAILID": lambda c: _list(c, _object_id, least=1)[0],
    b"THREADID": lambda c: None if c.take(b"NIL") else _list(c, _object_id, least=1)[0],
    b"PREVIEW": _nstring,
}


def _attribute(c: _Cursor) -> tuple[str, Any]:
    name = c.match(_ATTRIBUTE, "a FETCH attribute")
    label = name.decode()
    if name in (b"BODY", b"BINARY", b"BINARY.SIZE") and c.take(b"["):
        label += "[" + c.match(_SECTION, "a section").decode()
        if name == b"BINARY.SIZE":
            c.eat(b" ")
            return label, _number(c, MAX63)
        if c.take(b"<"):
            label += f"<{_number(c)}>"
            c.eat(b">")
        c.eat(b" ")
        return label, _nstring8(c) if name == b"BINARY" else _nstring(c)
    rule = _body if name == b"BODY" else _ATTRIBUTES.get(name)
    if rule is None:
        raise c.wrong(f"a known FETCH attribute, not {label},")
    c.eat(b" ")
    return label, rule(c)


# --- the others --------------------------------------------------------------------------------------


def _capabilities(c: _Cursor, end: bytes) -> list[str]:
    names = [_atom_until(c, end)]
    while c.take(b" "):
        names.append(_atom_until(c, end))
    if not {"IMAP4rev1", "IMAP4rev2"} & set(names):
        raise c.wrong("IMAP4rev1 among the capabilities before this")
    return names


def _atom_until(c: _Cursor, end: bytes) -> str:
    return c.match(_ATOM if end else _ASTRING, "a capability").decode()


def _extended_list_item(c: _Cursor) -> tuple[bytes, Any]:
    tag = _astring(c)
    c.eat(b" ")
    return tag.upper(), _list(c, _astring)


def _list_response(c: _Cursor) -> dict[str, Any]:
    attributes = _list(c, _flag)
    c.eat(b" ")
    delimiter = _nstring(c)
    if delimiter is not None and len(delimiter) != 1:
        raise c.wrong("a delimiter of one character before this")
    c.eat(b" ")
    name = _astring(c)
    extended: dict[bytes, Any] = {}
    if c.take(b" "):
        extended = dict(_list(c, _extended_list_item, least=1))
    return {"attributes": attributes, "delimiter": delimiter, "name": name, "extended": extended}


_STATUS_ITEM = re.compile(rb"[A-Z-]+")
_STATUS_ITEMS: dict[bytes, Callable[[_Cursor], Any]] = {
    b"MESSAGES": _number,
    b"RECENT": _number,
    b"UIDNEXT": _nz,
    b"UIDVALIDITY": _nz,
    b"UNSEEN": _number,
    b"DELETED": _number,
    b"SIZE": lambda c: _number(c, MAX63),
    b"DELETED-STORAGE": lambda c: _number(c, MAX63),
    b"HIGHESTMODSEQ": lambda c: _number(c, MAX63),
    b"APPENDLIMIT": lambda c: None if c.take(b"NIL") else _number(c, MAX63),
    b"MAILBOXID": lambda c: _list(c, _object_id, least=1)[0],
}


def _status_item(c: _Cursor) -> tuple[str, Any]:
    name = c.match(_STATUS_ITEM, "an item of STATUS")
    if name not in _STATUS_ITEMS:
        raise c.wrong(f"a known item of STATUS, not {name!r},")
    c.eat(b" ")
    return name.decode(), _STATUS_ITEMS[name](c)


def _status_response(c: _Cursor) -> tuple[bytes, dict[str, Any]]:
    name = _astring(c)
    c.eat(b" ")
    return name, dict(_list(c, _status_item))


def _search(c: _Cursor) -> list[int]:
    found = []
    while c.take(b" "):
        if c.peek() == b"(":
            c.eat(b"(MODSEQ ")
            _number(c, MAX63, least=1)
            c.eat(b")")
            return found
        found.append(_nz(c))
    return found


def _position(c: _Cursor) -> tuple[int, list[int]]:
    at = _number(c)
    c.eat(b" ")
    return at, numbers(_set(c))


def _partial(c: _Cursor) -> Any:
    c.eat(b"(")
    c.match(re.compile(rb"-?[1-9][0-9]*:-?[1-9][0-9]*"), "a range")
    c.eat(b" ")
    found = None if c.take(b"NIL") else numbers(_set(c))
    c.eat(b")")
    return found


_ESEARCH_ITEMS: dict[bytes, Callable[[_Cursor], Any]] = {
    b"MIN": _nz,
    b"MAX": _nz,
    b"COUNT": _number,
    b"ALL": lambda c: numbers(_set(c)),
    b"MODSEQ": lambda c: _number(c, MAX63, least=1),
    b"ADDTO": lambda c: _list(c, _position, least=1),
    b"REMOVEFROM": lambda c: _list(c, _position, least=1),
    b"PARTIAL": _partial,
    b"RELEVANCY": lambda c: _list(c, _nz),
}


def _esearch(c: _Cursor) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if c.take(b" ("):
        while True:
            name = c.match(_WORD, "a correlator")
            c.eat(b" ")
            if name == b"TAG":
                found["tag"] = _string(c).decode()
            elif name == b"MAILBOX":
                found["mailbox"] = _astring(c)
            elif name == b"UIDVALIDITY":
                found["uidvalidity"] = _nz(c)
            else:
                raise c.wrong(f"a correlator, not {name!r},")
            if not c.take(b" "):
                break
        c.eat(b")")
    if c.take(b" UID"):
        found["uid"] = True
    while c.take(b" "):
        name = c.match(_WORD, "an item of ESEARCH")
        rule = _ESEARCH_ITEMS.get(name)
        if rule is None:
            raise c.wrong(f"a known item of ESEARCH, not {name!r},")
        c.eat(b" ")
        found[name.decode()] = rule(c)
    return found


def _vanished(c: _Cursor) -> tuple[bool, list[tuple[int, int]]]:
    earlier = c.take(b"(EARLIER) ")
    return earlier, _set(c)


def _namespace(c: _Cursor) -> int:
    def one(c: _Cursor) -> None:
        c.eat(b"(")
        _string(c)
        c.eat(b" ")
        _nstring(c)
        while c.take(b" "):
            _string(c)
            c.eat(b" ")
            _list(c, _string, least=1)
        c.eat(b")")

    count = 0
    for n in range(3):
        if n:
            c.eat(b" ")
        if not c.take(b"NIL"):
            c.eat(b"(")
            while c.peek() == b"(":
                one(c)
                count += 1
            c.eat(b")")
    return count


def _id(c: _Cursor) -> list[Any]:
    return [] if c.take(b"NIL") else _list(c, _nstring)


def _metadata(c: _Cursor) -> tuple[bytes, list[bytes]]:
    name = _astring(c)
    c.eat(b" ")
    found = []
    if c.peek() == b"(":

        def entry(c: _Cursor) -> bytes:
            key = _astring(c)
            c.eat(b" ")
            _nstring8(c)
            return key

        return name, _list(c, entry, least=1)
    found.append(_astring(c))
    while c.take(b" "):
        found.append(_astring(c))
    return name, found


def _quota(c: _Cursor) -> bytes:
    root = _astring(c)
    c.eat(b" ")

    def resource(c: _Cursor) -> None:
        _atom(c)
        c.eat(b" ")
        _number(c, MAX63)
        c.eat(b" ")
        _number(c, MAX63)

    _list(c, resource)
    return root


def _words(c: _Cursor) -> list[bytes]:
    found = []
    while c.take(b" "):
        found.append(_astring(c))
    return found


def _after_space(rule: Callable[[_Cursor], Any]) -> Callable[[_Cursor], Any]:
    def spaced(c: _Cursor) -> Any:
        c.eat(b" ")
        return rule(c)

    return spaced


_UNTAGGED: dict[bytes, Callable[[_Cursor], Any]] = {
    b"CAPABILITY": _after_space(lambda c: _capabilities(c, b"")),
    b"ENABLED": _words,
    b"FLAGS": _after_space(lambda c: _list(c, _flag)),
    b"LIST": _after_space(_list_response),
    b"LSUB": _after_space(_list_response),
    b"STATUS": _after_space(_status_response),
    b"SEARCH": _search,
    b"SORT": _search,
    b"ESEARCH": _esearch,
    b"VANISHED": _after_space(_vanished),
    b"NAMESPACE": _after_space(_namespace),
    b"ID": _after_space(_id),
    b"METADATA": _after_space(_metadata),
    b"QUOTA": _after_space(_quota),
    b"QUOTAROOT": _words,
}
_NUMBERED: dict[bytes, Callable[[_Cursor], Any] | None] = {
    b"EXISTS": None,
    b"RECENT": None,
    b"EXPUNGE": None,
    b"FETCH": _after_space(lambda c: dict(_list(c, _attribute, least=1))),
    b"UIDFETCH": _after_space(lambda c: dict(_list(c, _attribute, least=1))),
}


def parse(raw: bytes, *, utf8: bool = False) -> Response:
    """Make a ``Response`` of one whole response, CRLF included; raises Ungrammatical.

    *utf8*: the client has enabled UTF8=ACCEPT or IMAP4rev2, so quoted strings may hold UTF-8.
    """
    c = _Cursor(raw, utf8)
    try:
        return _parse(c)
    except (UnicodeDecodeError, IndexError) as error:
        raise Ungrammatical(str(error), raw, c.at) from error


def _parse(c: _Cursor) -> Response:
    raw = c.data
    if c.take(b"+ "):
        response = Response("+", "+", raw=raw)
        if not c.data.startswith(b"\r\n", c.at):
            response.text = c.match(_TEXT8 if c.utf8 else _TEXT, "text")
    elif c.take(b"* "):
        if c.peek().isdigit():
            number = _number(c)
            c.eat(b" ")
            name = c.match(_WORD, "EXISTS, RECENT, EXPUNGE or FETCH")
            if name not in _NUMBERED:
                raise c.wrong(f"EXISTS, RECENT, EXPUNGE or FETCH, not {name!r},")
            if name in (b"FETCH", b"UIDFETCH", b"EXPUNGE") and not number:
                raise c.wrong("a number above 0")
            rule = _NUMBERED[name]
            response = Response("*", name.decode(), number=number, raw=raw)
            if rule is not None:
                response.data = rule(c)
        else:
            name = c.match(_WORD, "a response")
            response = Response("*", name.decode(), raw=raw)
            if name in (b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"):
                _status(c, response)
            elif name in _UNTAGGED:
                response.data = _UNTAGGED[name](c)
            else:
                raise c.wrong(f"a known response, not {name!r},")
    else:
        tag = c.match(_TAG, "a tag").decode()
        c.eat(b" ")
        name = c.match(_WORD, "OK, NO or BAD")
        if name not in (b"OK", b"NO", b"BAD"):
            raise c.wrong("OK, NO or BAD before this")
        response = Response(tag, name.decode(), raw=raw)
        _status(c, response)
    c.eat(b"\r\n")
    if c.at != len(raw):
        raise c.wrong("the end of the response")
    return response
