"""SEARCH, SORT, THREAD, ESEARCH (RFC 3501 6.4.4, 4466, 4731, 5032, 5182, 5256, 5267, 5466, 6203, 7162,
7377, 8474, 8514, 9394, 9738).

The text of a stored filter is put in the place of the key that names it, and read there.

Keys are read without recursion: what is open (a list, NOT, OR, FUZZY) lies on a stack.  Lists inside
lists and chains of OR become one key as they are read, so a chain may be as long as a line; lists and
NOT may be ``DEEPEST`` deep, which bounds the depth of the tree for whoever walks it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from maildir_imapd.errors import BadCharsetName, BadSyntax, FilterCharset, ProtocolError, UndefinedFilter
from maildir_imapd.wire import abnf
from maildir_imapd.wire.commands import (
    CancelUpdate,
    FetchItem,
    ReturnOptions,
    Search,
    SearchSource,
    Sort,
    Thread,
)
from maildir_imapd.wire.cursor import SYSTEM_FLAGS, Cursor, Stored, no_filters
from maildir_imapd.wire.numbers import LARGEST, NumberSet
from maildir_imapd.wire.parse_fetch import parse_items, parse_partial_range
from maildir_imapd.wire.search_keys import (
    KeyAll,
    KeyAnd,
    KeyDate,
    KeyFlag,
    KeyFuzzy,
    KeyHeader,
    KeyModSeq,
    KeyNot,
    KeyNumbers,
    KeyObjectId,
    KeyOr,
    KeySaveDateSupported,
    KeySize,
    KeyText,
    KeyWithin,
    SearchKey,
)

DEEPEST = 100


# --- commands -------------------------------------------------------------------------------------


def parse_search(at: Cursor, tag: bytes, uid: bool) -> Search:
    """search = "SEARCH" [search-return-opts] SP search-program"""
    at.space()
    returning = _returning(at)
    charset = _program_charset(at)
    key = _program(at, charset)
    return Search(tag, key, uid, returning, charset)


def parse_esearch(at: Cursor, tag: bytes, _uid: bool) -> Search:
    """esearch = "ESEARCH" [SP esearch-source-opts] [SP search-return-opts] SP search-program (RFC 7377)

    It always answers with UIDs; without a source it searches the selected mailbox, without RETURN
    for ALL.  The RFC's text also writes UID ESEARCH.
    """
    at.space()
    sources: tuple[SearchSource, ...] = (SearchSource(b"SELECTED"),)
    start = at.pos
    word = abnf.LABEL(at.text, at.pos)
    if word is not None and word[0].upper() == b"IN":
        at.pos = word.end()
        at.space()
        at.open()
        found = [parse_mailbox_filter(at)]
        while at.more():
            found.append(parse_mailbox_filter(at))
        sources = tuple(found)
        if any(source.scope == b"SELECTED-DELAYED" for source in sources):
            at.fail("a source that can be searched", start)
        at.space()
    returning = _returning(at) or ReturnOptions(frozenset([b"ALL"]))
    charset = _program_charset(at)
    key = _program(at, charset)
    return Search(tag, key, True, returning, charset, sources)


def parse_sort(at: Cursor, tag: bytes, uid: bool) -> Sort:
    """sort = ["UID" SP] "SORT" [search-return-opts] SP sort-criteria SP search-criteria (RFC 5256, 5267)"""
    at.space()
    returning = _returning(at)
    at.open()
    criteria = []
    while True:
        key = at.one_of(SORT_KEYS, "a sort key")
        reverse = key == b"REVERSE"
        if reverse:
            at.space()
            start = at.pos
            if (key := at.one_of(SORT_KEYS, "a sort key")) == b"REVERSE":
                at.fail("a sort key", start)
        criteria.append((key, reverse))
        if not at.more():
            break
    at.space()
    charset = _charset(at)
    at.space()
    return Sort(tag, tuple(criteria), _program(at, charset), uid, charset, returning)


def parse_thread(at: Cursor, tag: bytes, uid: bool) -> Thread:
    """thread = ["UID" SP] "THREAD" SP thread-alg SP search-criteria (RFC 5256)"""
    at.space()
    algorithm = at.atom().upper()
    at.space()
    charset = _charset(at)
    at.space()
    return Thread(tag, algorithm, _program(at, charset), uid, charset)


def parse_cancel_update(at: Cursor, tag: bytes, _uid: bool) -> CancelUpdate:
    """ "CANCELUPDATE" 1*(SP quoted) (RFC 5267)"""
    at.space()
    tags = [at.string()]
    while not at.at_end():
        at.space()
        tags.append(at.string())
    return CancelUpdate(tag, tuple(tags))


# RFC 5256, DISPLAYFROM and DISPLAYTO of 5957, RELEVANCY of 6203.
SORT_KEYS = frozenset(b"ARRIVAL CC DATE FROM SIZE SUBJECT TO DISPLAYFROM DISPLAYTO RELEVANCY REVERSE".split())


# --- options --------------------------------------------------------------------------------------

# RFC 4731; SAVE of 5182; CONTEXT, UPDATE and PARTIAL of 5267 and 9394; RELEVANCY of 6203.
_RETURN_OPTIONS = frozenset(b"MIN MAX ALL COUNT SAVE CONTEXT UPDATE PARTIAL RELEVANCY".split())


def _returning(at: Cursor) -> ReturnOptions | None:
    """search-return-opts = SP "RETURN" SP "(" [search-return-opt *(SP search-return-opt)] ")", then SP"""
    word = abnf.LABEL(at.text, at.pos)
    if word is None or word[0].upper() != b"RETURN":
        return None
    at.pos = word.end()
    at.space()
    start = at.pos
    at.open()
    names: set[bytes] = set()
    partial = None
    items: tuple[FetchItem, ...] = ()
    if not at.take(b")"):
        while True:
            here = at.pos
            name = at.one_of(_RETURN_OPTIONS, "a RETURN option")
            names.add(name)
            if name == b"PARTIAL":
                if partial is not None:
                    at.fail("one PARTIAL", here)
                at.space()
                partial = parse_partial_range(at)
            elif name == b"UPDATE" and at.at_list():
                # RFC 5465 section 8: modifier-update = "UPDATE" [ "(" fetch-att *(SP fetch-att) ")" ]
                at.space()
                items = parse_items(at)
            if not at.more():
                break
    # RFC 9394 section 3.1
    if b"PARTIAL" in names and b"ALL" in names:
        at.fail("PARTIAL or ALL", start)
    at.space()
    return ReturnOptions(frozenset(names or [b"ALL"]), partial, items)


def parse_mailbox_filter(at: Cursor) -> SearchSource:
    """filter-mailboxes (RFC 5465 section 8, RFC 7377)"""
    scope = at.one_of(_FILTERS | _FILTERS_WITH_NAMES, "a mailbox filter")
    if scope not in _FILTERS_WITH_NAMES:
        return SearchSource(scope)
    at.space()
    if not at.at(b"("):
        return SearchSource(scope, (at.mailbox(),))
    at.open()
    names = [at.mailbox()]
    while at.more():
        names.append(at.mailbox())
    return SearchSource(scope, tuple(names))


_FILTERS = frozenset([b"SELECTED", b"SELECTED-DELAYED", b"INBOXES", b"PERSONAL", b"SUBSCRIBED"])
_FILTERS_WITH_NAMES = frozenset([b"SUBTREE", b"SUBTREE-ONE", b"MAILBOXES"])


def _program_charset(at: Cursor) -> bytes | None:
    """search-program = ["CHARSET" SP charset SP] ..."""
    word = abnf.LABEL(at.text, at.pos)
    if word is None or word[0].upper() != b"CHARSET":
        return None
    at.pos = word.end()
    at.space()
    charset = _charset(at)
    at.space()
    return charset


def _charset(at: Cursor) -> bytes:
    """charset = atom / quoted; RFC 3501 says astring.  An unknown one is refused even if no key needs it."""
    charset = at.astring()
    at.decode(charset, b"")
    return charset.upper()


# --- keys -----------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class _Open:
    """A key that is not complete: its kind, the keys it has, and how many it wants (0: until ")")."""

    kind: type[KeyAnd] | type[KeyOr] | type[KeyNot] | type[KeyFuzzy]
    keys: list[SearchKey]
    wants: int


def _program(at: Cursor, charset: bytes | None) -> SearchKey:
    """search-key *(SP search-key), to the end of the command"""
    stack = [_Open(KeyAnd, [], 0)]
    depth = 0
    filters = _Filters()
    while True:
        # Open whatever comes next until there is a key that is complete in itself.
        start = at.pos
        top = stack[-1]
        key: SearchKey | None
        if at.begins():
            depth = _deeper(at, depth, start)
            # A list in a list shares the keys of the outer one.
            stack.append(_Open(KeyAnd, top.keys if top.kind is KeyAnd else [], 0))
            continue
        match = abnf.LABEL(at.text, start)
        if match is None:
            key = KeyNumbers(at.number_set()) if abnf.SET(at.text, start) else at.fail("a search key")
        else:
            word = match[0].upper()
            at.pos = match.end()
            if (wrapper := _WRAPPERS.get(word)) is not None:
                at.space()
                depth = _deeper(at, depth, start)
                stack.append(_Open(wrapper, [], 1))
                continue
            if word == b"FILTER":
                filters.insert(at, start, charset)
                charset = charset and b"UTF-8"
                continue
            if word == b"OR":
                at.space()
                if top.kind is KeyOr:
                    top.wants += 1
                else:
                    stack.append(_Open(KeyOr, [], 2))
                continue
            key = _KEYS.get(word)
            if key is None:
                argument = _ARGUMENTS.get(word)
                if argument is None:
                    at.fail("a search key", start)
                at.space()
                key = argument(at, charset)
        # Close whatever the key completes.
        while True:
            top = stack[-1]
            if key is not None:
                _add(top, key)
            if top.wants:
                top.wants -= 1
                if top.wants:
                    at.space()
                    break
                key = _made(top)
                depth -= top.kind is not KeyOr
            elif len(stack) > 1:
                if at.more():
                    break
                depth -= 1
                # What it shares with the outer list is there already.
                key = None if stack[-2].keys is top.keys else _made(top)
            elif at.at_end():
                return _made(top)
            else:
                at.space()
                break
            stack.pop()


def _deeper(at: Cursor, depth: int, start: int) -> int:
    if depth == DEEPEST:
        at.fail("fewer levels of search keys", start)
    return depth + 1


def _add(top: _Open, key: SearchKey) -> None:
    """Give *key* to what is open, making lists and chains flat."""
    if isinstance(key, (KeyAnd, KeyOr)) and top.kind is type(key):
        top.keys.extend(key.keys)
    else:
        top.keys.append(key)


def _made(top: _Open) -> SearchKey:
    if top.kind is KeyAnd or top.kind is KeyOr:
        return top.keys[0] if len(top.keys) == 1 else top.kind(tuple(top.keys))
    return KeyFuzzy(top.keys[0]) if top.kind is KeyFuzzy else KeyNot(top.keys[0])


_WRAPPERS: dict[bytes, type[KeyNot] | type[KeyFuzzy]] = {b"NOT": KeyNot, b"FUZZY": KeyFuzzy}

# search-key: the words that need no argument.
_KEYS: dict[bytes, SearchKey] = {
    b"ALL": KeyAll(),
    b"NEW": KeyAnd((KeyFlag(b"\\Recent"), KeyFlag(b"\\Seen", False))),
    b"OLD": KeyFlag(b"\\Recent", False),
    b"RECENT": KeyFlag(b"\\Recent"),
    b"SAVEDATESUPPORTED": KeySaveDateSupported(),
}
for _flag in (b"ANSWERED", b"DELETED", b"DRAFT", b"FLAGGED", b"SEEN"):
    _KEYS[_flag] = KeyFlag(SYSTEM_FLAGS[b"\\" + _flag])
    _KEYS[b"UN" + _flag] = KeyFlag(SYSTEM_FLAGS[b"\\" + _flag], False)


def _text(at: Cursor, charset: bytes | None) -> str:
    return at.decode(charset, at.astring())


def _header(at: Cursor, charset: bytes | None) -> SearchKey:
    """ "HEADER" SP header-fld-name SP astring"""
    name = at.field_name().upper()
    at.space()
    return KeyHeader(name, _text(at, charset))


def _modseq(at: Cursor, _charset: bytes | None) -> SearchKey:
    """ "MODSEQ" [SP entry-name SP entry-type-req] SP mod-sequence-valzer (RFC 7162)"""
    entry = entry_type = None
    if at.at(b'"'):
        start = at.pos
        entry = at.string()
        if not entry.lower().startswith(b"/flags/"):
            at.fail("the name of a metadata entry", start)
        at.space()
        entry_type = at.one_of(_ENTRY_TYPES, '"priv", "shared" or "all"').lower()
        at.space()
    return KeyModSeq(at.modseq(), entry, entry_type)


_ENTRY_TYPES = frozenset([b"PRIV", b"SHARED", b"ALL"])


class _Filters:
    """The filters that one search uses, each within the text of others."""

    __slots__ = ("_checked", "_inserted", "_open", "_room")

    def __init__(self) -> None:
        self._checked: set[bytes] = set()
        self._inserted = 0
        self._room = LONGEST_OCTETS
        # Those whose text is being read, with how much is left of the whole where each ends.
        self._open: list[tuple[bytes, int]] = []

    def insert(self, at: Cursor, start: int, charset: bytes | None) -> None:
        """Put the filter's text in the place of "FILTER" SP filter-name, which begins at *start*.

        RFC 5466 3.1: one that names itself, or is buried too deep, does not exist; nor does what is no search.
        """
        at.space()
        begin = at.pos
        name = at.atom()
        if b"/" in name:
            at.fail("the name of a filter", begin)
        if charset not in (None, b"UTF-8", b"US-ASCII"):
            raise FilterCharset
        left = len(at.text) - at.pos
        while self._open and left < self._open[-1][1]:
            self._open.pop()
        self._inserted += 1
        text = at.stored(name)
        nested = [other for other, _ in self._open]
        if text is None or name.upper() in nested or len(nested) >= NESTED or self._inserted > INSERTED:
            raise UndefinedFilter(code=b"UNDEFINED-FILTER " + name)
        self._room -= len(text)
        if self._room < 0:
            raise UndefinedFilter(code=b"UNDEFINED-FILTER " + name)
        if text not in self._checked:
            try:
                check_criteria(text)
            except ProtocolError as error:
                raise UndefinedFilter(code=b"UNDEFINED-FILTER " + name) from error
            self._checked.add(text)
        self._open.append((name.upper(), left))
        # Blanks at the end of a command are let through; these are no longer at one.
        at.text = at.text[:start] + text.rstrip(b" ") + at.text[at.pos :]
        at.pos = start


# Filters within filters, and in all of one search (RFC 5466 3.1 asks for 3 passes).
NESTED = 10
INSERTED = 200
# Octets of all that is inserted.
LONGEST_OCTETS = 1 << 20


def check_criteria(text: bytes) -> None:
    """Raise ProtocolError when *text* is not search-criteria in UTF-8; filters that it names are not looked at."""
    parse_criteria(text, lambda name: b"ALL")


def parse_criteria(text: bytes, stored: Stored = no_filters) -> SearchKey:
    """Read search-criteria in UTF-8 that stand alone, without literals; raises ProtocolError.

    *stored* gives the text of a filter; without it one that is named is UndefinedFilter.
    """
    try:
        return _program(Cursor(text, stored=stored), b"UTF-8")
    except BadCharsetName:
        raise BadSyntax("no other charset") from None


def _object_id(name: bytes) -> Argument:
    def parse_key(at: Cursor, _charset: bytes | None) -> SearchKey:
        start = at.pos
        value = at.astring()
        if not abnf.OBJECT_ID(value):
            at.fail("an object identifier", start)
        return KeyObjectId(name, value)

    return parse_key


def _beyond(at: Cursor, *, after: bool) -> SearchKey:
    """ "UIDAFTER" SP uniqueid / "UIDBEFORE" SP uniqueid (RFC 9738 3.2); the one named is never among them."""
    uid = at.nz_number()
    if uid == (LARGEST if after else 1):
        return KeyNot(KeyAll())
    return KeyNumbers(NumberSet(((uid + 1, LARGEST) if after else (1, uid - 1),)), uid=True)


def _date(kind: str, relation: str) -> Argument:
    return lambda at, _charset: KeyDate(kind, relation, at.date())


def _field(name: bytes) -> Argument:
    return lambda at, charset: KeyHeader(name, _text(at, charset))


Argument = Callable[[Cursor, bytes | None], SearchKey]

# search-key: the words with an argument, which comes after one space.
_ARGUMENTS: dict[bytes, Argument] = {
    b"BODY": lambda at, charset: KeyText(_text(at, charset), body_only=True),
    b"EMAILID": _object_id(b"EMAILID"),
    b"HEADER": _header,
    b"KEYWORD": lambda at, _charset: KeyFlag(at.atom()),
    b"LARGER": lambda at, _charset: KeySize(True, at.number64()),
    b"MODSEQ": _modseq,
    b"OLDER": lambda at, _charset: KeyWithin(True, at.nz_number()),
    b"SMALLER": lambda at, _charset: KeySize(False, at.number64()),
    b"TEXT": lambda at, charset: KeyText(_text(at, charset)),
    b"THREADID": _object_id(b"THREADID"),
    b"UID": lambda at, _charset: KeyNumbers(at.number_set(), uid=True),
    b"UIDAFTER": lambda at, _charset: _beyond(at, after=True),
    b"UIDBEFORE": lambda at, _charset: _beyond(at, after=False),
    b"UNKEYWORD": lambda at, _charset: KeyFlag(at.atom(), False),
    b"YOUNGER": lambda at, _charset: KeyWithin(False, at.nz_number()),
}
for _name in (b"BCC", b"CC", b"FROM", b"SUBJECT", b"TO"):
    _ARGUMENTS[_name] = _field(_name)
for _prefix, _kind in ((b"", "received"), (b"SENT", "sent"), (b"SAVED", "saved")):
    for _relation in ("before", "on", "since"):
        _ARGUMENTS[_prefix + _relation.upper().encode()] = _date(_kind, _relation)
