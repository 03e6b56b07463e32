"""Any octets: a value, or ``ProtocolError``, or ``BadCharsetName``; never another exception.

The same octets give the same events in whatever pieces they come, and the buffer never holds more
than its limits and what was fed last.  What a client can mean, said in octets and read, is what it
meant.
"""

from __future__ import annotations

import datetime as dt
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from maildir_imapd.errors import BadArgument, BadCharsetName, BadMailboxName, BadSyntax, ProtocolError
from maildir_imapd.wire import commands as c
from maildir_imapd.wire import render
from maildir_imapd.wire import search_keys as k
from maildir_imapd.wire.buffer import AFTER_LOGIN, CommandBuffer, Event, Expects, Frame, Limits, LiteralWanted, Overflow
from maildir_imapd.wire.dates import MONTHS
from maildir_imapd.wire.names import Pattern, decode_mailbox
from maildir_imapd.wire.numbers import NumberSet
from maildir_imapd.wire.parse import BARE, PARSERS, UID_PARSERS, parse, peek_command, peek_tag
from maildir_imapd.wire.parse_append import AppendReader

# --- octets that look like commands ---------------------------------------------------------------

SAMPLES = [
    b'ID ("name" "x" "os" NIL)',
    b"AUTHENTICATE PLAIN AGEAYg==",
    b'LOGIN "f\\"o" {3+}\r\nbar',
    b"ENABLE CONDSTORE QRESYNC",
    b"SELECT box (QRESYNC (1 2 1:5 (1,2 3,4)) CONDSTORE)",
    b'CREATE "x" (USE (\\Drafts))',
    b"RENAME inbox {2+}\r\nx/",
    b'LIST (SUBSCRIBED RECURSIVEMATCH) "" ("*" %) RETURN (CHILDREN STATUS (MESSAGES UNSEEN))',
    b"STATUS x (MESSAGES HIGHESTMODSEQ)",
    b'LIST "" * RETURN (METADATA (/private/x "/shared/y") STATUS (SIZE))',
    b"UIDBATCHES 2000 10:20",
    b'APPEND box (\\Seen) " 7-Feb-1994 21:52:25 -0800" {5+}\r\nhello {2+}\r\nhi',
    b"APPEND {1+}\r\nx CATENATE (URL {1+}\r\nu TEXT {1+}\r\nt) UTF8 (~{1+}\r\n\0)",
    b"UID REPLACE 4 box () {1+}\r\nx",
    b"UID EXPUNGE 1:5,$",
    b"COPY 2:4 box",
    b"STORE 1:* (UNCHANGEDSINCE 5) +FLAGS.SILENT (\\Seen $x)",
    b"FETCH 1 FULL",
    b"UID FETCH 1:*,4 (BODY.PEEK[1.HEADER.FIELDS (From {2+}\r\nTo)]<0.10> PREVIEW (LAZY)) (CHANGEDSINCE 5 VANISHED)",
    b"UID SEARCH RETURN (MIN PARTIAL 1:9) CHARSET UTF-8 OR (NOT SEEN 1:5) FUZZY SUBJECT {1+}\r\nx SINCE 1-Feb-1994",
    b'SEARCH MODSEQ "/flags/\\\\seen" all 5 HEADER X "\xc3\xa4" YOUNGER 7 EMAILID x UID $',
    b"SORT RETURN () (REVERSE DATE FROM) UTF-8 ALL",
    b"THREAD REFERENCES UTF-8 BODY x",
    b"ESEARCH IN (mailboxes (a b) subtree x) RETURN (ALL) DELETED",
    b"NOTIFY SET STATUS (selected (MessageNew (UID FLAGS) MessageExpunge)) (personal NONE)",
    b'GETMETADATA "x" (MAXSIZE 5 DEPTH infinity) (/a /b)',
    b"SETMETADATA x (/a {1+}\r\nx /b NIL)",
    b"SETQUOTA x (STORAGE 512)",
    b"SETACL x fred +rw",
    b'LANGUAGE "de"',
    b'CANCELUPDATE "a1"',
]

words = st.sampled_from(
    [
        *SAMPLES,
        *BARE,
        *PARSERS,
        *(b"UID " + name for name in UID_PARSERS),
        *(b" ", b" ", b" ", b"(", b")", b"\r\n", b"\n", b'"', b"\\", b"*", b"%", b"1:*", b"$", b"0", b"1", b","),
        *(b"{3}\r\n", b"{3+}\r\n", b"~{1+}\r\n", b"{99999+}\r\n", b"[", b"]", b"<0.1>", b"NIL", b"\0", b"\xc3", b"a"),
        *(b"NOT ", b"OR ", b"BODY[", b"HEADER.FIELDS", b"RETURN", b"CHARSET ", b"UTF-8", b"\\Seen", b"1-Jan-2000"),
    ]
)
lines = st.lists(words, max_size=8).map(b"".join)
octets = st.binary(max_size=60) | lines | lines.map(lambda line: b"a " + line)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample with a piece cut out, put in or changed."""
    sample = b"a " + draw(st.sampled_from(SAMPLES))
    start = draw(st.integers(0, len(sample)))
    end = draw(st.integers(start, min(len(sample), start + 4)))
    return sample[:start] + draw(words | st.binary(max_size=3)) + sample[end:]


def spell_date(date: dt.date) -> bytes:
    return b"%d-%b-%04d" % (date.day, MONTHS[date.month - 1], date.year)


def read(frame: Frame) -> c.Command | ProtocolError | BadCharsetName:
    try:
        command = parse(frame)
    except (ProtocolError, BadCharsetName) as error:
        return error
    assert command == command
    assert repr(command)
    assert peek_tag(frame.text) == command.tag
    return command


@given(octets | damaged())
@example(b"a UID FETCH 1:1 (PREVIEW")
@example(b"a SEARCH NOT")
def test_any_text_parses_or_is_refused(text: bytes) -> None:
    found = read(Frame(text))
    peek_command(text)
    if isinstance(found, BadSyntax):
        assert 0 <= found.position <= len(text)
        assert str(found)


# --- octets in any pieces -------------------------------------------------------------------------


class Sink:
    """Counts; equal to every sink that took as much."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: bytes | memoryview) -> None:
        self.count += len(data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sink) and self.count == other.count

    __hash__ = None  # type: ignore[assignment]


SMALL = Limits(line=60, literal=12, command=120)


def events_of(pieces: list[bytes], limits: Limits) -> list[Event]:
    """What a session sees: it streams messages, and refuses what does not begin well."""
    buffer = CommandBuffer(limits, skip_limit=1000)
    reader: AppendReader | None = None
    events: list[Event] = []
    for piece in pieces:
        buffer.feed(piece)
        while (event := buffer.next_event()) is not None:
            # A sink that is still filling would make the comparison depend on the pieces.
            events.append(event)
            if isinstance(event, LiteralWanted):
                if not event.continued:
                    reader = AppendReader()
                try:
                    assert reader is not None
                    start = reader.read(event)
                except ProtocolError:
                    buffer.refuse()
                else:
                    buffer.accept(Sink() if start.message else None)
            elif isinstance(event, Frame):
                read(event)
        assert len(buffer._data) <= limits.command + 4 + len(piece)
        assert len(buffer._head) <= limits.command + 4
    # Which of two limits is passed first may depend on the pieces; that one is passed does not.
    return [
        Overflow(event.tag, "", event.fatal) if isinstance(event, Overflow) else event
        for event in events
        if not isinstance(event, LiteralWanted)
    ]


streams = st.lists(octets | damaged() | st.sampled_from(SAMPLES).map(lambda sample: b"b " + sample), max_size=4).map(
    lambda parts: b"".join(part + b"\r\n" for part in parts)
)


@given(streams, st.sampled_from([SMALL, AFTER_LOGIN]), st.lists(st.integers(0, 400), max_size=6))
def test_pieces_do_not_matter(data: bytes, limits: Limits, cuts: list[int]) -> None:
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(places)]
    whole = events_of([data], limits)
    assert events_of(pieces, limits) == whole
    assert events_of([data[at : at + 1] for at in range(len(data))], limits) == whole
    assert all(not event.fatal for event in whole[:-1] if isinstance(event, Overflow))


@given(streams)
def test_lines_are_only_lines(data: bytes) -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(data)
    lines = []
    while (event := buffer.next_event(Expects.LINE)) is not None:
        lines.append(event)
    assert len(lines) == data.count(b"\n")


# --- names ----------------------------------------------------------------------------------------


@given(st.binary(max_size=40), st.booleans())
def test_any_name_decodes_or_is_refused(raw: bytes, utf8: bool) -> None:
    try:
        name = decode_mailbox(raw, utf8=utf8)
    except (BadMailboxName, BadArgument):
        return
    assert Pattern(name, "/").matches(name) or "*" in name or "%" in name


# --- what was meant -------------------------------------------------------------------------------

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
names = st.binary(max_size=8).map(lambda raw: raw.replace(b"\0", b"")).filter(lambda raw: raw.upper() != b"INBOX")
atoms = st.from_regex(rb"[a-z$]{1,6}", fullmatch=True)
numbers = st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), min_size=1, max_size=4).map(
    lambda ranges: NumberSet(tuple(ranges))
)


def spell_set(numbers: NumberSet) -> bytes:
    return b",".join(b"%b:%b" % tuple(b"%d" % n if n else b"*" for n in pair) for pair in numbers.ranges)


def sent(text: bytes) -> Frame:
    """Through the buffer, as a client that sends synchronizing literals without waiting."""
    buffer = CommandBuffer(AFTER_LOGIN)
    buffer.feed(b"a " + text + b"\r\n")
    while isinstance(event := buffer.next_event(), LiteralWanted):
        buffer.accept()
    assert isinstance(event, Frame)
    assert not buffer.pending
    return event


@given(names, names)
def test_strings_arrive(user: bytes, password: bytes) -> None:
    login = parse(sent(b"LOGIN %b %b" % (render.astring(user), render.string(password))))
    assert login == c.Login(b"a", user, password)
    rename = parse(sent(b"RENAME %b %b" % (render.mailbox(user), render.mailbox(password, utf8=True))))
    assert rename == c.Rename(b"a", user, password)


@given(
    numbers,
    st.sampled_from([b"", b"+", b"-"]),
    st.lists(atoms, max_size=4),
    st.booleans(),
    st.none() | st.integers(0, 2**63 - 1),
)
def test_stores_arrive(ids: NumberSet, action: bytes, flags: list[bytes], silent: bool, since: int | None) -> None:
    words = [b"STORE", spell_set(ids)]
    if since is not None:
        words.append(b"(UNCHANGEDSINCE %d)" % since)
    words += [action + b"FLAGS" + (b".SILENT" if silent else b""), render.render_flags(flags)]
    store = parse(sent(b" ".join(words)))
    assert store == c.Store(b"a", ids, action, tuple(flags), silent, False, since)


leaves: st.SearchStrategy[k.SearchKey] = st.one_of(
    st.just(k.KeyAll()),
    st.builds(k.KeyFlag, st.sampled_from([b"\\Seen", b"\\Deleted"]), st.booleans()),
    st.builds(k.KeyFlag, atoms, st.booleans()),
    st.builds(k.KeyNumbers, numbers, st.booleans()),
    st.builds(
        k.KeyDate,
        st.sampled_from(["received", "sent", "saved"]),
        st.sampled_from(["before", "on", "since"]),
        st.dates(),
    ),
    st.builds(k.KeySize, st.booleans(), st.integers(0, 2**63 - 1)),
    st.builds(k.KeyHeader, atoms.map(bytes.upper), text),
    st.builds(k.KeyText, text, st.booleans()),
    st.builds(k.KeyModSeq, st.integers(0, 2**63 - 1)),
    st.builds(k.KeyWithin, st.booleans(), st.integers(1, 2**32 - 1)),
)


def combined(keys: st.SearchStrategy[k.SearchKey]) -> st.SearchStrategy[k.SearchKey]:
    several = st.lists(keys, min_size=2, max_size=4)
    return st.one_of(
        st.builds(k.KeyNot, keys),
        st.builds(k.KeyFuzzy, keys),
        several.map(lambda some: k.KeyAnd(tuple(flat(k.KeyAnd, some)))),
        several.map(lambda some: k.KeyOr(tuple(flat(k.KeyOr, some)))),
    )


def flat(kind: type[k.KeyAnd] | type[k.KeyOr], keys: list[k.SearchKey]) -> list[k.SearchKey]:
    """Lists in lists and chains of OR have only the flat form."""
    return [inner for key in keys for inner in (key.keys if isinstance(key, kind) else [key])]


def spell(key: k.SearchKey) -> bytes:
    match key:
        case k.KeyAll():
            return b"ALL"
        case k.KeyFlag(flag, present):
            sign = b"" if present else b"UN"
            return sign + (flag[1:].upper() if flag.startswith(b"\\") else b"KEYWORD " + flag)
        case k.KeyNumbers(ids, uid):
            return (b"UID " if uid else b"") + spell_set(ids)
        case k.KeyDate(kind, relation, date):
            prefix = {"received": "", "sent": "SENT", "saved": "SAVED"}[kind]
            return (prefix + relation).encode() + b" " + spell_date(date)
        case k.KeySize(larger, size):
            return b"%b %d" % (b"LARGER" if larger else b"SMALLER", size)
        case k.KeyHeader(field, value):
            return b"HEADER %b %b" % (field, render.mailbox(value.encode(), utf8=True))
        case k.KeyText(value, body_only):
            return b"%b %b" % (b"BODY" if body_only else b"TEXT", render.string(value.encode()))
        case k.KeyModSeq(modseq):
            return b"MODSEQ %d" % modseq
        case k.KeyWithin(older, seconds):
            return b"%b %d" % (b"OLDER" if older else b"YOUNGER", seconds)
        case k.KeyNot(inner):
            return b"NOT " + spell(inner)
        case k.KeyFuzzy(inner):
            return b"FUZZY " + spell(inner)
        case k.KeyAnd(keys):
            return b"(%b)" % b" ".join(map(spell, keys))
        case k.KeyOr(keys):
            return b"OR " * (len(keys) - 1) + b" ".join(map(spell, keys))
    raise AssertionError(key)


@given(st.recursive(leaves, combined, max_leaves=12), st.booleans())
def test_searches_arrive(key: k.SearchKey, uid: bool) -> None:
    search = parse(sent((b"UID " if uid else b"") + b"SEARCH CHARSET UTF-8 " + spell(key)))
    assert search == c.Search(b"a", key, uid, None, b"UTF-8")


sections = st.one_of(
    st.builds(
        c.Section, st.lists(st.integers(1, 99), max_size=3).map(tuple), st.sampled_from([b"", b"HEADER", b"TEXT"])
    ),
    st.builds(c.Section, st.just((1, 2)), st.just(b"MIME")),
    st.builds(
        c.Section,
        st.just(()),
        st.sampled_from([b"HEADER.FIELDS", b"HEADER.FIELDS.NOT"]),
        st.lists(atoms, min_size=1, max_size=3).map(tuple),
    ),
)


@given(sections, st.none() | st.tuples(st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1)), st.booleans())
def test_sections_arrive(section: c.Section, partial: tuple[int, int] | None, peek: bool) -> None:
    spec = ".".join(map(str, section.part)).encode()
    if section.kind:
        spec += (b"." if spec else b"") + section.kind
    if section.fields:
        spec += b" (%b)" % b" ".join(section.fields)
    item = b"BODY%b[%b]" % (b".PEEK" if peek else b"", spec) + (b"<%d.%d>" % partial if partial else b"")
    fetch = parse(sent(b"FETCH 1 (UID %b)" % item))
    assert isinstance(fetch, c.Fetch)
    assert fetch.items == (c.FetchAtt(b"UID"), c.FetchBody(b"BODY[%b]" % spec, section, partial, peek))


@given(st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_dates_of_append_arrive(moment: dt.datetime, zone: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=dt.timezone(dt.timedelta(minutes=zone)))
    hours, minutes = divmod(abs(zone), 60)
    stamp = b"%b %02d:%02d:%02d %b%02d%02d" % (
        spell_date(moment.date()),
        moment.hour,
        moment.minute,
        moment.second,
        b"-" if zone < 0 else b"+",
        hours,
        minutes,
    )
    append = parse(sent(b'APPEND box "%b" {2+}\r\nhi' % stamp))
    assert append == c.Append(b"a", b"box", (c.AppendMessage(b"hi", date=moment),))
