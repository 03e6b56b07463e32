"""SEARCH, SORT, THREAD and ESEARCH."""

from __future__ import annotations

import datetime as dt

import pytest
from blanks import spread
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.errors import BadCharset, BadCharsetName, BadSyntax, FilterCharset, ProtocolError, UndefinedFilter
from maildir_imapd.wire.buffer import Frame
from maildir_imapd.wire.commands import (
    FetchAtt,
    ReturnOptions,
    Search,
    SearchSource,
    Sort,
    Thread,
)
from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.parse import parse
from maildir_imapd.wire.parse_search import DEEPEST, INSERTED, LONGEST_OCTETS, NESTED, check_criteria
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


def search(text: bytes) -> Search:
    command = parse(Frame(b"a " + text))
    assert isinstance(command, Search)
    return command


def key(text: bytes) -> SearchKey:
    return search(b"SEARCH " + text).key


DAY = dt.date(1994, 2, 1)
SEEN = KeyFlag(b"\\Seen")
UNSEEN = KeyFlag(b"\\Seen", False)
DELETED = KeyFlag(b"\\Deleted")

KEYS: list[tuple[bytes, SearchKey]] = [
    (b"ALL", KeyAll()),
    (b"seen", SEEN),
    (b"UNSEEN", UNSEEN),
    (b"ANSWERED", KeyFlag(b"\\Answered")),
    (b"UNANSWERED", KeyFlag(b"\\Answered", False)),
    (b"DELETED", DELETED),
    (b"UNDELETED", KeyFlag(b"\\Deleted", False)),
    (b"DRAFT", KeyFlag(b"\\Draft")),
    (b"UNDRAFT", KeyFlag(b"\\Draft", False)),
    (b"FLAGGED", KeyFlag(b"\\Flagged")),
    (b"UNFLAGGED", KeyFlag(b"\\Flagged", False)),
    (b"RECENT", KeyFlag(b"\\Recent")),
    (b"OLD", KeyFlag(b"\\Recent", False)),
    (b"NEW", KeyAnd((KeyFlag(b"\\Recent"), UNSEEN))),
    (b"KEYWORD $Forwarded", KeyFlag(b"$Forwarded")),
    (b"UNKEYWORD x", KeyFlag(b"x", False)),
    (b"1", KeyNumbers(NumberSet(((1, 1),)))),
    (b"1:*", KeyNumbers(NumberSet(((1, 0),)))),
    (b"*", KeyNumbers(NumberSet(((0, 0),)))),
    (b"$", KeyNumbers(NumberSet((), saved=True))),
    (b"UID 4,7:9", KeyNumbers(NumberSet(((4, 4), (7, 9))), uid=True)),
    (b"uid $", KeyNumbers(NumberSet((), saved=True), uid=True)),
    (b"BEFORE 1-Feb-1994", KeyDate("received", "before", DAY)),
    (b'ON "01-feb-1994"', KeyDate("received", "on", DAY)),
    (b"SINCE 1-Feb-1994", KeyDate("received", "since", DAY)),
    (b"SENTBEFORE 1-Feb-1994", KeyDate("sent", "before", DAY)),
    (b"SENTON 1-Feb-1994", KeyDate("sent", "on", DAY)),
    (b"SENTSINCE 1-Feb-1994", KeyDate("sent", "since", DAY)),
    (b"SAVEDBEFORE 1-Feb-1994", KeyDate("saved", "before", DAY)),
    (b"SAVEDON 1-Feb-1994", KeyDate("saved", "on", DAY)),
    (b"SAVEDSINCE 1-Feb-1994", KeyDate("saved", "since", DAY)),
    (b"SAVEDATESUPPORTED", KeySaveDateSupported()),
    (b"LARGER 0", KeySize(True, 0)),
    (b"SMALLER 9223372036854775807", KeySize(False, (1 << 63) - 1)),
    (b"FROM x", KeyHeader(b"FROM", "x")),
    (b'to "x y"', KeyHeader(b"TO", "x y")),
    (b"CC {3}\r\na)b", KeyHeader(b"CC", "a)b")),
    (b'BCC ""', KeyHeader(b"BCC", "")),
    (b"SUBJECT NIL", KeyHeader(b"SUBJECT", "NIL")),
    (b'HEADER References ""', KeyHeader(b"REFERENCES", "")),
    (b'HEADER "X-Foo" {1}\r\nx', KeyHeader(b"X-FOO", "x")),
    (b"TEXT x", KeyText("x")),
    ('BODY "Übermut"'.encode(), KeyText("Übermut", body_only=True)),
    (b"BODY {3}\r\n\xe2\x82\xac", KeyText("€", body_only=True)),
    (b"MODSEQ 0", KeyModSeq(0)),
    (b'MODSEQ "/flags/\\\\draft" ALL 620162338', KeyModSeq(620162338, b"/flags/\\draft", b"all")),
    (b"OLDER 1", KeyWithin(True, 1)),
    # RFC 9738 3.2: not "6:*", which has the last message in it where that has UID 5
    (b"UIDAFTER 5", KeyNumbers(NumberSet(((6, 4294967295),)), uid=True)),
    (b"UIDAFTER 4294967295", KeyNot(KeyAll())),
    (b"uidbefore 5", KeyNumbers(NumberSet(((1, 4),)), uid=True)),
    (b"UIDBEFORE 1", KeyNot(KeyAll())),
    (b"YOUNGER 259200", KeyWithin(False, 259200)),
    (b"EMAILID M6d99ac3275bb4e", KeyObjectId(b"EMAILID", b"M6d99ac3275bb4e")),
    (b"THREADID T-_", KeyObjectId(b"THREADID", b"T-_")),
    # composed
    (b"NOT SEEN", KeyNot(SEEN)),
    (b"NOT NOT SEEN", KeyNot(KeyNot(SEEN))),
    (b"FUZZY NOT SUBJECT x", KeyFuzzy(KeyNot(KeyHeader(b"SUBJECT", "x")))),
    (b"OR SEEN DELETED", KeyOr((SEEN, DELETED))),
    (b"OR SEEN OR DELETED UNSEEN", KeyOr((SEEN, DELETED, UNSEEN))),
    (b"OR OR SEEN DELETED UNSEEN", KeyOr((SEEN, DELETED, UNSEEN))),
    (b"OR (OR SEEN DELETED) UNSEEN", KeyOr((SEEN, DELETED, UNSEEN))),
    (b"OR (SEEN DELETED) UNSEEN", KeyOr((KeyAnd((SEEN, DELETED)), UNSEEN))),
    (b"OR NOT SEEN NOT OR SEEN DELETED", KeyOr((KeyNot(SEEN), KeyNot(KeyOr((SEEN, DELETED)))))),
    (b"OR NEW SEEN", KeyOr((KeyAnd((KeyFlag(b"\\Recent"), UNSEEN)), SEEN))),
    (b"(SEEN)", SEEN),
    (b"((((SEEN))))", SEEN),
    (b"SEEN DELETED", KeyAnd((SEEN, DELETED))),
    (b"SEEN (DELETED (NEW)) ALL ", KeyAnd((SEEN, DELETED, KeyFlag(b"\\Recent"), UNSEEN, KeyAll()))),
    (b"NOT (SEEN DELETED) ALL", KeyAnd((KeyNot(KeyAnd((SEEN, DELETED))), KeyAll()))),
    (b"((OR SEEN DELETED) NOT (UNSEEN))", KeyAnd((KeyOr((SEEN, DELETED)), KeyNot(UNSEEN)))),
    (b"OR SEEN (DELETED) (NOT (OR SEEN (DELETED)))", KeyAnd((KeyOr((SEEN, DELETED)), KeyNot(KeyOr((SEEN, DELETED)))))),
]


@pytest.mark.parametrize(("text", "expected"), KEYS)
def test_keys(text: bytes, expected: SearchKey) -> None:
    assert key(text) == expected
    assert key(spread(text)) == expected


@pytest.mark.parametrize(("text", "expected"), KEYS)
def test_keys_stand_anywhere(text: bytes, expected: SearchKey) -> None:
    text = text.removesuffix(b" ")
    if not isinstance(expected, KeyAnd):
        assert key(b"SEEN " + text + b" UNSEEN") == KeyAnd((SEEN, expected, UNSEEN))
    assert key(b"NOT (" + text + b")") == KeyNot(expected)


def test_command() -> None:
    assert search(b"search 1") == Search(b"a", KeyNumbers(NumberSet(((1, 1),))))
    assert search(b"UID SEARCH 1:* DELETED").uid
    assert search(b"SEARCH CHARSET utf-8 ALL").charset == b"UTF-8"
    assert search(b'SEARCH CHARSET "UTF-8" ALL').charset == b"UTF-8"
    assert search(b"SEARCH CHARSET utf8 ALL").charset == b"UTF8"
    assert search(b"SEARCH CHARSET {8}\r\nUS-ASCII ALL").charset == b"US-ASCII"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"()", ReturnOptions(frozenset([b"ALL"]))),
        (b"(all)", ReturnOptions(frozenset([b"ALL"]))),
        (b"(MIN MAX COUNT SAVE)", ReturnOptions(frozenset([b"MIN", b"MAX", b"COUNT", b"SAVE"]))),
        (b"(PARTIAL 1:100)", ReturnOptions(frozenset([b"PARTIAL"]), (1, 100))),
        (b"(PARTIAL -1:-100 MIN)", ReturnOptions(frozenset([b"PARTIAL", b"MIN"]), (-1, -100))),
        (b"(PARTIAL 500:400)", ReturnOptions(frozenset([b"PARTIAL"]), (400, 500))),
        (b"(UPDATE COUNT CONTEXT)", ReturnOptions(frozenset([b"UPDATE", b"COUNT", b"CONTEXT"]))),
        (b"(UPDATE (UID) ALL)", ReturnOptions(frozenset([b"UPDATE", b"ALL"]), None, (FetchAtt(b"UID"),))),
        (b"(RELEVANCY ALL)", ReturnOptions(frozenset([b"RELEVANCY", b"ALL"]))),
    ],
)
def test_returning(text: bytes, expected: ReturnOptions) -> None:
    assert search(b"SEARCH RETURN " + text + b" SEEN") == Search(b"a", SEEN, returning=expected)
    command = parse(Frame(b"a SORT return " + text + b" (DATE) UTF-8 SEEN"))
    assert command == Sort(b"a", ((b"DATE", False),), SEEN, False, b"UTF-8", expected)


def test_sort() -> None:
    assert parse(Frame(b'a UID SORT (REVERSE arrival) "UTF-8" ALL')) == Sort(
        b"a", ((b"ARRIVAL", True),), KeyAll(), True, b"UTF-8"
    )
    assert parse(Frame(b"a SORT (SUBJECT REVERSE DATE DISPLAYFROM) US-ASCII SEEN ALL")) == Sort(
        b"a",
        ((b"SUBJECT", False), (b"DATE", True), (b"DISPLAYFROM", False)),
        KeyAnd((SEEN, KeyAll())),
        False,
        b"US-ASCII",
    )


def test_thread() -> None:
    assert parse(Frame(b"a uid thread references utf-8 SEEN")) == Thread(b"a", b"REFERENCES", SEEN, True, b"UTF-8")
    assert parse(Frame(b"a THREAD REFS UTF-8 ALL")) == Thread(b"a", b"REFS", KeyAll(), False, b"UTF-8")


ALL = ReturnOptions(frozenset([b"ALL"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"ESEARCH SEEN", Search(b"a", SEEN, True, ALL, None, (SearchSource(b"SELECTED"),))),
        (b"UID ESEARCH SEEN", Search(b"a", SEEN, True, ALL, None, (SearchSource(b"SELECTED"),))),
        (
            b'ESEARCH IN (mailboxes "folder1" subtree (a inbox) Personal) RETURN (MIN) CHARSET UTF-8 SEEN',
            Search(
                b"a",
                SEEN,
                True,
                ReturnOptions(frozenset([b"MIN"])),
                b"UTF-8",
                (
                    SearchSource(b"MAILBOXES", (b"folder1",)),
                    SearchSource(b"SUBTREE", (b"a", b"INBOX")),
                    SearchSource(b"PERSONAL"),
                ),
            ),
        ),
        (
            b"ESEARCH IN (subtree-one x) SEEN",
            Search(b"a", SEEN, True, ALL, None, (SearchSource(b"SUBTREE-ONE", (b"x",)),)),
        ),
    ],
)
def test_esearch(text: bytes, expected: Search) -> None:
    assert search(text) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        (b"SEARCH", 6),
        (b"SEARCH ", 7),
        (b"SEARCH FOO", 7),
        (b"SEARCH ALL)", 10),
        (b"SEARCH ()", 8),
        (b"SEARCH (ALL", 11),
        (b"SEARCH (ALL ", 12),
        (b"SEARCH (ALL))", 12),
        (b"SEARCH (ALL)(SEEN)", 12),
        (b"SEARCH NOT", 10),
        (b"SEARCH NOT ", 11),
        (b"SEARCH NOT )", 11),
        (b"SEARCH OR SEEN", 14),
        (b"SEARCH OR SEEN ", 15),
        (b"SEARCH (OR SEEN)", 15),
        (b"SEARCH 0", 7),
        (b"SEARCH 1:", 9),
        (b"SEARCH 1,", 9),
        (b"SEARCH 12345678901", 7),
        (b"SEARCH UID", 10),
        (b"SEARCH UID x", 11),
        (b"SEARCH SINCE 30-Feb-2000", 13),
        (b"SEARCH SINCE 1-Feb-20", 13),
        (b"SEARCH SINCE", 12),
        (b"SEARCH LARGER -1", 14),
        (b"SEARCH LARGER 9223372036854775808", 14),
        (b"SEARCH YOUNGER 0", 15),
        (b"SEARCH KEYWORD", 14),
        (b"SEARCH KEYWORD \\Seen", 15),
        (b"SEARCH SUBJECT", 14),
        (b"SEARCH SUBJECT (x)", 15),
        (b"SEARCH SUBJECT \xc3\xa4", 15),
        (b"SEARCH HEADER x", 15),
        (b"SEARCH MODSEQ", 13),
        (b"SEARCH MODSEQ x", 14),
        (b'SEARCH MODSEQ "/flags/\\\\seen" 5', 30),
        (b'SEARCH MODSEQ "/foo" all 5', 14),
        (b"SEARCH EMAILID a.b", 15),
        (b"SEARCH FILTER a/b", 14),
        (b"SEARCH X-GM-MSGID 1278455344230334865", 7),
        (b"SEARCH X-GM-THRID 1", 7),
        (b'SEARCH X-GM-RAW "has:attachment x"', 7),
        (b"SEARCH X-GM-LABELS x", 7),
        (b"SEARCH CHARSET", 14),
        (b"SEARCH CHARSET UTF-8", 20),
        (b"SEARCH CHARSET UTF-8 ", 21),
        (b"SEARCH RETURN", 13),
        (b"SEARCH RETURN ALL", 14),
        (b"SEARCH RETURN ()", 16),
        (b"SEARCH RETURN (FOO) ALL", 15),
        (b"SEARCH RETURN (MIN", 18),
        (b"SEARCH RETURN (PARTIAL) ALL", 22),
        (b"SEARCH RETURN (PARTIAL 1) ALL", 24),
        (b"SEARCH RETURN (PARTIAL 0:1) ALL", 23),
        (b"SEARCH RETURN (PARTIAL 1:-1) ALL", 25),
        (b"SEARCH RETURN (PARTIAL 1:2 PARTIAL 1:2) ALL", 27),
        (b"SEARCH RETURN (PARTIAL 1:2 ALL) ALL", 14),
        (b"SEARCH RETURN (UPDATE ()) ALL", 23),
        (b"SORT DATE UTF-8 ALL", 5),
        (b"SORT () UTF-8 ALL", 6),
        (b"SORT (FOO) UTF-8 ALL", 6),
        (b"SORT (REVERSE) UTF-8 ALL", 13),
        (b"SORT (REVERSE REVERSE DATE) UTF-8 ALL", 14),
        (b"SORT (DATE) UTF-8", 17),
        (b"THREAD REFERENCES UTF-8", 23),
        (b"ESEARCH IN () ALL", 12),
        (b"ESEARCH IN (FOO) ALL", 12),
        (b"ESEARCH IN (selected-delayed) ALL", 8),
        (b"ESEARCH IN (mailboxes) ALL", 21),
        (b"ESEARCH IN (mailboxes ()) ALL", 23),
    ],
)
def test_bad(text: bytes, position: int) -> None:
    with pytest.raises(BadSyntax) as caught:
        parse(Frame(b"a " + text))
    assert caught.value.position == position + 2


@pytest.mark.parametrize(
    "text",
    [
        b"SEARCH CHARSET FOO ALL",
        b"SEARCH CHARSET rot13 SUBJECT x",
        b"SORT (DATE) KLINGON ALL",
        b"THREAD REFERENCES x ALL",
    ],
)
def test_unknown_charset(text: bytes) -> None:
    with pytest.raises(BadCharsetName):
        parse(Frame(b"a " + text))


@pytest.mark.parametrize(
    "text",
    [
        b'SEARCH CHARSET UTF-8 TEXT "\xfc"',
        b'SEARCH CHARSET US-ASCII TEXT "\xc3\xbc"',
    ],
)
def test_bad_text(text: bytes) -> None:
    with pytest.raises(BadCharset):
        parse(Frame(b"a " + text))


def test_charsets_of_the_caller() -> None:
    def decode(charset: bytes, data: bytes) -> str:
        if charset.upper() != b"ISO-8859-1":
            raise LookupError
        return data.decode("latin-1")

    command = parse(Frame(b'a SEARCH CHARSET iso-8859-1 BODY "\xfc"'), decode)
    assert isinstance(command, Search)
    assert command.key == KeyText("ü", body_only=True)


# --- depth and length -----------------------------------------------------------------------------


@pytest.mark.parametrize("opening", [b"(", b"NOT ", b"FUZZY ", b"(NOT ", b"OR ALL (", b"OR ALL NOT "])
def test_depth_is_limited(opening: bytes) -> None:
    levels = opening.count(b"(") + opening.count(b"NOT") + opening.count(b"FUZZY")
    many = DEEPEST // levels
    key(opening * many + b"SEEN" + b")" * opening.count(b"(") * many)
    with pytest.raises(BadSyntax):
        key(opening * (many + 1) + b"SEEN" + b")" * opening.count(b"(") * (many + 1))


def test_the_deepest_tree_can_be_walked() -> None:
    deep = key(b"OR ALL (NOT " * (DEEPEST // 2) + b"SEEN" + b")" * (DEEPEST // 2))
    assert deep == deep
    assert hash(deep)
    assert repr(deep)


@pytest.mark.parametrize("many", [2, 50_000])
def test_chains_are_as_long_as_they_like(many: int) -> None:
    expected = KeyOr((SEEN,) * (many + 1))
    assert key(b"OR SEEN " * many + b"SEEN") == expected
    assert key(b"OR " * many + b"SEEN" + b" SEEN" * many) == expected
    assert key(b"OR (OR SEEN SEEN) " * many + b"SEEN") == KeyOr((SEEN,) * (2 * many + 1))


def test_many_keys() -> None:
    assert key(b"SEEN " * 100_000 + b"SEEN") == KeyAnd((SEEN,) * 100_001)
    assert key(b"(" * 99 + b"SEEN " * 100_000 + b"SEEN" + b")" * 99) == KeyAnd((SEEN,) * 100_001)
    assert key(b"(SEEN) " * 50_000 + b"SEEN") == KeyAnd((SEEN,) * 50_001)


# --- stored filters (RFC 5466) ------------------------------------------------------------------------


def filtered(text: bytes, **stored: bytes) -> SearchKey:
    command = parse(Frame(b"a SEARCH " + text), stored=lambda name: stored.get(name.decode().lower()))
    assert isinstance(command, Search)
    return command.key


def test_a_filter_is_read_in_its_place() -> None:
    two = b"SEEN DELETED"
    assert filtered(b"FILTER x", x=two) == KeyAnd((SEEN, DELETED))
    assert filtered(b"NOT filter X", x=two) == KeyAnd((KeyNot(SEEN), DELETED))
    assert filtered(b"NOT (FILTER x)", x=two) == KeyNot(KeyAnd((SEEN, DELETED)))
    assert filtered(b"OR FILTER x UNSEEN", x=two) == KeyAnd((KeyOr((SEEN, DELETED)), UNSEEN))
    assert filtered(b"FILTER x ALL", x=b"SEEN ") == KeyAnd((SEEN, KeyAll()))
    assert filtered(b"FILTER x FILTER x", x=b"1:5") == KeyAnd((KeyNumbers(NumberSet(((1, 5),))),) * 2)
    assert filtered(b"FILTER x ALL", x=b"SUBJECT {3}\r\na b") == KeyAnd((KeyHeader(b"SUBJECT", "a b"), KeyAll()))
    assert filtered(b"FILTER x", x='SUBJECT "Größe"'.encode()) == KeyHeader(b"SUBJECT", "Größe")
    assert filtered(b"CHARSET US-ASCII FILTER x", x='SUBJECT "Größe"'.encode()) == KeyHeader(b"SUBJECT", "Größe")


@pytest.mark.parametrize("bad", [b"", b" ", b"OR SEEN", b"SEEN)", b"(SEEN", b"CHARSET UTF-8 ALL", b"SUBJECT \xff"])
def test_what_is_no_search_is_no_filter(bad: bytes) -> None:
    with pytest.raises(UndefinedFilter) as undefined:
        filtered(b"FILTER x ALL", x=bad)
    assert undefined.value.code == b"UNDEFINED-FILTER x"
    with pytest.raises(ProtocolError):
        check_criteria(bad)


def test_filters_within_filters_are_bounded() -> None:
    def chain(count: int) -> dict[str, bytes]:
        return {**{f"f{n}": b"FILTER f%d" % (n + 1) for n in range(count - 1)}, f"f{count - 1}": b"SEEN"}

    assert filtered(b"FILTER f0 DELETED", **chain(NESTED)) == KeyAnd((SEEN, DELETED))
    with pytest.raises(UndefinedFilter):
        filtered(b"FILTER f0", **chain(NESTED + 1))
    # Beside one another there may be many more.
    assert filtered(b"FILTER f0 " * (INSERTED // NESTED) + b"SEEN", **chain(NESTED)) == KeyAnd(
        (SEEN,) * (INSERTED // NESTED + 1)
    )
    with pytest.raises(UndefinedFilter):
        filtered(b"FILTER x " * INSERTED + b"FILTER x", x=b"SEEN")
    with pytest.raises(UndefinedFilter) as circle:
        filtered(b"FILTER x", x=b"SEEN FILTER y", y=b"FILTER X")
    assert circle.value.code == b"UNDEFINED-FILTER X"
    long = b" ".join([b"SUBJECT " + b"x" * 1000] * (LONGEST_OCTETS // 3 // 1000))
    filtered(b"FILTER x FILTER x", x=long)
    with pytest.raises(UndefinedFilter):
        filtered(b"FILTER x FILTER x FILTER x", x=long)
    with pytest.raises(BadSyntax):
        filtered(b"(" * DEEPEST + b"FILTER x" + b")" * DEEPEST, x=b"(SEEN)")


def test_a_filter_is_in_utf8() -> None:
    with pytest.raises(FilterCharset):
        parse(Frame(b"a SEARCH CHARSET ISO-8859-1 FILTER x"), lambda charset, data: "", lambda name: b"SEEN")


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_whatever_a_filter_holds(value: bytes, rest: bytes) -> None:
    try:
        parse(Frame(b"a SEARCH FILTER x " + rest), stored=lambda name: value)
    except (ProtocolError, UndefinedFilter, BadCharsetName):
        pass


@pytest.mark.parametrize("string", [b'"Gr\xf6\xdfe"', b"{5}\r\nGr\xf6\xdfe"])
def test_without_a_charset(string: bytes) -> None:
    """UTF-8 as clients send it, and what cannot be UTF-8 is ISO-8859-1; what has a charset must be in it."""
    assert key(b"SUBJECT " + string) == KeyHeader(b"SUBJECT", "Größe")
    assert key(b'SUBJECT "Gr\xc3\xb6\xc3\x9fe" FROM ' + string) == KeyAnd(
        (KeyHeader(b"SUBJECT", "Größe"), KeyHeader(b"FROM", "Größe"))
    )
    assert filtered(b"FILTER x FROM " + string, x="SUBJECT {7}\r\nGröße".encode()) == KeyAnd(
        (KeyHeader(b"SUBJECT", "Größe"), KeyHeader(b"FROM", "Größe"))
    )
    with pytest.raises(BadCharset):
        key(b"CHARSET UTF-8 SUBJECT " + string)
    with pytest.raises(BadCharset):
        key(b"CHARSET US-ASCII FROM " + string)
