"""FETCH, UID FETCH (RFC 3501 6.4.5, 3516, 7162, 8474, 8514, 8970, 9394)."""

from __future__ import annotations

from functools import lru_cache

from maildir_imapd.errors import BadSyntax
from maildir_imapd.strings import string
from maildir_imapd.wire import abnf
from maildir_imapd.wire.commands import Fetch, FetchAtt, FetchBody, FetchItem, FetchPreview, Section
from maildir_imapd.wire.cursor import LARGEST64, Cursor

# RFC 3501 section 6.4.5; a macro stands alone, without parentheses.
MACROS: dict[bytes, tuple[FetchItem, ...]] = {
    name: tuple(FetchAtt(item) for item in items.split())
    for name, items in {
        b"ALL": b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE",
        b"FAST": b"FLAGS INTERNALDATE RFC822.SIZE",
        b"FULL": b"FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODY",
    }.items()
}

# fetch-att of RFC 3501, MODSEQ of 7162, EMAILID and THREADID of 8474, SAVEDATE of 8514.
_PLAIN: dict[bytes, FetchItem] = {
    name: FetchAtt(name)
    for name in (
        b"ENVELOPE FLAGS INTERNALDATE RFC822.SIZE BODY BODYSTRUCTURE UID MODSEQ EMAILID THREADID SAVEDATE"
    ).split()
}
# "RFC822" [".HEADER" / ".TEXT"]: the same octets as BODY[], BODY.PEEK[HEADER] and BODY[TEXT].
_PLAIN |= {
    b"RFC822": FetchBody(b"RFC822", Section()),
    b"RFC822.HEADER": FetchBody(b"RFC822.HEADER", Section(kind=b"HEADER"), peek=True),
    b"RFC822.TEXT": FetchBody(b"RFC822.TEXT", Section(kind=b"TEXT")),
}

_Modifiers = tuple[int | None, bool, tuple[int, int] | None]

# Clients repeat a handful of item lists for as long as they live; longer ones are not worth the memory.
_REMEMBERED = 1024


def parse_fetch(at: Cursor, tag: bytes, uid: bool) -> Fetch:
    """fetch = "FETCH" SP sequence-set SP (macro / fetch-att / "(" fetch-att *(SP fetch-att) ")") [fetch-modifiers]"""
    at.space()
    numbers = at.number_set()
    at.space()
    rest = at.text[at.pos :]
    if len(rest) > _REMEMBERED:
        items, modifiers = _parse_rest(at, uid)
    else:
        try:
            items, modifiers = _remember_rest(rest, uid)
        except BadSyntax as error:
            at.fail(error.expected, at.pos + error.position)
    return Fetch(tag, numbers, items, uid, *modifiers)


@lru_cache(maxsize=256)
def _remember_rest(rest: bytes, uid: bool) -> tuple[tuple[FetchItem, ...], _Modifiers]:
    return _parse_rest(Cursor(rest), uid)


def _parse_rest(at: Cursor, uid: bool) -> tuple[tuple[FetchItem, ...], _Modifiers]:
    if at.at(b"("):
        items = parse_items(at)
    else:
        word = abnf.ITEM(at.text, at.pos)
        if word is not None and (macro := MACROS.get(word[0].upper())) is not None:
            at.pos = word.end()
            items = macro
        else:
            items = (parse_item(at),)
    modifiers: _Modifiers = (None, False, None)
    if not at.at_end():
        at.space()
        modifiers = _parse_modifiers(at, uid)
    at.end()
    return items, modifiers


def parse_items(at: Cursor) -> tuple[FetchItem, ...]:
    """ "(" fetch-att *(SP fetch-att) ")", each item once."""
    at.open()
    items: dict[object, FetchItem] = {}
    while True:
        item = parse_item(at)
        if isinstance(item, FetchBody):
            # BODY[] and BODY.PEEK[] are one item in the answer; asked for both, \Seen is set.
            key: object = (item.label, item.partial)
            if item.peek and key in items:
                item = items[key]
        else:
            key = item
        items[key] = item
        if not at.more():
            return tuple(items.values())


def parse_item(at: Cursor) -> FetchItem:
    """fetch-att"""
    start = at.pos
    match = abnf.ITEM(at.text, start)
    if match is None:
        at.fail("a FETCH item")
    name = match[0].upper()
    at.pos = match.end()
    if at.at(b"["):
        match name:
            case b"BODY" | b"BODY.PEEK":
                section, label = parse_section(at)
                return FetchBody(b"BODY" + label, section, _partial(at), peek=name == b"BODY.PEEK")
            case b"BINARY" | b"BINARY.PEEK":
                section, label = _section_binary(at)
                return FetchBody(b"BINARY" + label, section, _partial(at), peek=name == b"BINARY.PEEK", binary=True)
            case b"BINARY.SIZE":
                section, label = _section_binary(at)
                return FetchBody(b"BINARY.SIZE" + label, section, peek=True, binary=True, size_only=True)
    elif (item := _PLAIN.get(name)) is not None:
        return item
    elif name == b"PREVIEW":
        return _preview(at)
    return at.fail("a FETCH item", start)


def _preview(at: Cursor) -> FetchPreview:
    """fetch-att =/ "PREVIEW" [SP "(" preview-mod *(SP preview-mod) ")"] (RFC 8970)"""
    start = at.pos
    # In `FETCH 1 PREVIEW (CHANGEDSINCE 5)` the list belongs to FETCH.
    if at.at_list():
        at.space()
        at.open()
        if (word := abnf.ITEM(at.text, at.pos)) is not None and word[0].upper() == b"LAZY":
            at.pos = word.end()
            while at.more():
                at.one_of(frozenset([b"LAZY"]), "a PREVIEW modifier")
            return FetchPreview(lazy=True)
    at.pos = start
    return FetchPreview()


# --- sections -------------------------------------------------------------------------------------


def parse_section(at: Cursor) -> tuple[Section, bytes]:
    """section = "[" [section-spec] "]"; also returns it as the answer has to spell it."""
    at.pos += 1
    part, label = _part(at)
    if at.take(b"]"):
        return Section(part), b"[%b]" % label
    if part:
        if not at.take(b"."):
            at.fail('"." or "]"')
        label += b"."
    start = at.pos
    match = abnf.ITEM(at.text, start)
    kind = match[0].upper() if match else b""
    fields: tuple[bytes, ...] = ()
    if kind in (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT") or kind in (b"HEADER", b"TEXT") or (kind == b"MIME" and part):
        at.pos = start + len(kind)
        label += kind
    else:
        at.fail("a section of a message")
    if kind.startswith(b"HEADER.FIELDS"):
        at.space()
        fields = _header_list(at)
        label += b" (%b)" % b" ".join([_spelled(field) for field in fields])
    if not at.take(b"]"):
        at.fail('"]"')
    return Section(part, kind, fields), b"[%b]" % label


def _section_binary(at: Cursor) -> tuple[Section, bytes]:
    """section-binary = "[" [section-part] "]" """
    at.pos += 1
    part, label = _part(at)
    if not at.take(b"]"):
        at.fail('a part number or "]"')
    return Section(part), b"[%b]" % label


def _part(at: Cursor) -> tuple[tuple[int, ...], bytes]:
    """[section-part] = nz-number *("." nz-number)"""
    match = abnf.PART(at.text, at.pos)
    if match is None:
        return (), b""
    at.pos = match.end()
    return tuple([int(number) for number in match[0].split(b".")]), match[0]


def _header_list(at: Cursor) -> tuple[bytes, ...]:
    """header-list = "(" header-fld-name *(SP header-fld-name) ")" """
    at.open()
    names = [at.field_name()]
    while at.more():
        names.append(at.field_name())
    return tuple(names)


def _spelled(field: bytes) -> bytes:
    """header-fld-name = astring"""
    match = abnf.ASTRING_ATOM(field)
    return field if match is not None and match.end() == len(field) else string(field)


def _partial(at: Cursor) -> tuple[int, int] | None:
    """partial = "<" number64 "." nz-number64 ">" """
    if not at.take(b"<"):
        return None
    first = at.number64()
    if not at.take(b"."):
        at.fail('"."')
    count = at.digits("a number from 1", least=1, most=LARGEST64)
    if not at.take(b">"):
        at.fail('">"')
    return first, count


# --- modifiers ------------------------------------------------------------------------------------


def _parse_modifiers(at: Cursor, uid: bool) -> _Modifiers:
    """fetch-modifiers = "(" fetch-modifier *(SP fetch-modifier) ")" (RFC 4466, 7162, 9394)"""
    changed_since: int | None = None
    vanished = False
    partial: tuple[int, int] | None = None
    at.open()
    start = at.pos
    while True:
        here = at.pos
        name = at.label("a FETCH modifier")
        if name == b"CHANGEDSINCE" and changed_since is None:
            at.space()
            changed_since = at.modseq()
        elif name == b"VANISHED" and not vanished and uid:
            vanished = True
        elif name == b"PARTIAL" and partial is None and uid:
            at.space()
            partial = parse_partial_range(at)
        else:
            at.fail("a FETCH modifier", here)
        if not at.more():
            break
    # RFC 7162 section 3.2.6
    if vanished and changed_since is None:
        at.fail("CHANGEDSINCE beside VANISHED", start)
    return changed_since, vanished, partial


def parse_partial_range(at: Cursor) -> tuple[int, int]:
    """partial-range = nz-number ":" nz-number / MINUS nz-number ":" MINUS nz-number (RFC 9394)

    4:2 is 2:4, and -4:-2 is -2:-4.
    """
    negative = at.take(b"-")
    first = at.nz_number()
    if not at.take(b":"):
        at.fail('":"')
    if negative and not at.take(b"-"):
        at.fail('"-"')
    last = at.nz_number()
    low, high = min(first, last), max(first, last)
    return (-low, -high) if negative else (low, high)
