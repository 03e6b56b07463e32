"""Everything that reads octets from outside, each as a function of octets, with what hostile octets are made of.

``test_fuzz_growth`` and scripts/fuzz share it.  A target must answer or raise one of its ``refusals``.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from maildir_imapd import mutf7, normal
from maildir_imapd.cli import dovecot_config
from maildir_imapd.errors import BadCharsetName, BadMailboxName, ConfigError, ImapdError, ProtocolError, UnknownCte
from maildir_imapd.imap.access.comparator import _matches
from maildir_imapd.lmtp.answers import BadCommand
from maildir_imapd.lmtp.cutting import LINE_OCTETS, DotText, cut_command
from maildir_imapd.lmtp.letter import HeaderSeen
from maildir_imapd.lmtp.parse import parse as parse_lmtp
from maildir_imapd.message import (
    attached,
    charset,
    header,
    lines,
    mime,
    order,
    section,
    structure,
    text,
    thread,
    transfer,
)
from maildir_imapd.message.address import parse_addresses
from maildir_imapd.message.envelope import render_envelope
from maildir_imapd.server.http_talk import HEAD_OCTETS, BadHttp
from maildir_imapd.server.http_talk import parse as parse_http
from maildir_imapd.store.index import checkpoint, journal
from maildir_imapd.store.maildir import filename, keywords, packed
from maildir_imapd.store.neighbours import courier_files, dovecot_index, uidlist
from maildir_imapd.store.records import acl, metadata, quota, special_use, subscriptions, texts
from maildir_imapd.wire.buffer import AFTER_LOGIN, CommandBuffer, Expects, Frame, LiteralWanted
from maildir_imapd.wire.names import Pattern, decode_mailbox
from maildir_imapd.wire.numbers import parse_number_set
from maildir_imapd.wire.parse import parse, peek_command
from maildir_imapd.wire.url import parse_url


@dataclass(frozen=True)
class Target:
    """*begin* and *end* stand around what is repeated; *most* is the largest size it can ever see, in octets."""

    run: Callable[[bytes], object]
    units: tuple[bytes, ...]
    begin: bytes = b""
    end: bytes = b""
    most: int = 256 * 1024
    refusals: tuple[type[Exception], ...] = ()

    def __call__(self, octets: bytes) -> None:
        """Run it, a refusal being an answer."""
        try:
            self.run(octets)
        except self.refusals:
            pass


# --- what is repeated -----------------------------------------------------------------------------

_MARKS = "\u0315\u0300".encode()
WORDS: tuple[bytes, ...] = (
    *(b"a", b" ", b"\t", b"\r", b"\n", b"\r\n", b"\r\n ", b"\n\t", b"\0", b"\xff", b"\xc3\xa4", b'"', b"\\", b'\\"'),
    *(b"(", b")", b"()", b"[", b"]", b"[]", b"<", b">", b"<>", b",", b";", b":", b"@", b".", b"=", b"==", b"-", b"--"),
    *(b"a ", b'"a"', b'a"', b"a,", b"a@b,", b"a@", b"<a@b>", b"<a", b"(a", b"a:", b"a:;", b"[a", b"a=b;", b"a*0=b;"),
    *(
        b"=?",
        b"?=",
        b"=?a?q?",
        b"=?a?q?,",
        b"=?utf-8?q?=C3?=",
        b"=?utf-8?b?4?= ",
        b"=?utf-7?q?+?=",
        b"=?x?q?_?= ",
        b"=CC=95=CC=80",
    ),
    *(_MARKS, "\ufdfa".encode(), "\u0344".encode(), "ß".encode(), "İ".encode(), "\U0001d15e".encode()),
    *(b"re:", b"re ", b"[fwd:", b"(fwd)", b"[a]", b"[a] re:", b"fw [a", b"re [] "),
    *(b"<!--", b"-->", b"<a ", b"<style>", b"</style>", b"<b>", b"&", b"&#", b"&#9", b"9", b"&amp;", b"&lt"),
    *(b"> ", b">\n", b"--x\r\n", b"--x--\r\n", b"\r\n--", b"\r\n\r\n", b"a: b\r\n", b"\n\n", b" \n", b" \r\n", b"a \n"),
    *(b"+", b"+-", b"+A", b"+AGE-", b"&AGE-", b"&-", b"&A", b"~{", b"~}", b"~", b"\x1b$B", b"\x1b(B", b"\x1b", b"\x0e"),
    *(b"\x0e\x0f", b"\x80", b"\x81", b"\xfe\xff", b"\xd8\x00", b"\x00\xdc", b"\x00a", b"\xe3\x81", b"\x81\x30\x81"),
)

# Of these, what means something to a parser of commands or of files, and to a codec.
SIGNS = tuple(dict.fromkeys((*WORDS[:32], b"a ", b'"a"', b"[a", b"a=b;", _MARKS, b"9", b"&", b"&A", b"&AGE-", b"\n\n")))
CODED = (b"a", b"\n", b"\r", b" ", b"\0", b"\xff", b"=", b"-", b"_", _MARKS, "\ufdfa".encode(), *WORDS[-26:])

MARKUP = (
    *(
        b"<!--",
        b"-->",
        b"<!",
        b"<![",
        b"<![CDATA[",
        b"]]>",
        b"<?",
        b"<a",
        b"<a ",
        b"</a",
        b"</",
        b"</ ",
        b"</style",
        b"<a b='",
    ),
    *(
        b"<style>",
        b"</style>",
        b"<title>",
        b"<template>",
        b"</template>",
        b"<script>",
        b"<a b=",
        b'<a b="',
        b"b='>",
        b"b=c ",
    ),
    *(
        b"&uuml;",
        b"&#252;",
        b"&#xfc",
        b"&u",
        b"&",
        b"data:",
        b"data:image/png;base64,",
        b"<<",
        b"<>",
        b"/",
        b" / ",
        b"=",
        b"'",
    ),
    *(b"<p>", b"<p>a</p>\r\n", b"<b>", b"a", b" ", b"\n", b"\0"),
)

_FIELDS = (b"Subject", b"From", b"To", b"Date", b"Message-ID", b"References", b"In-Reply-To", b"Content-Type")


def _all_header(octets: bytes) -> None:
    head = lines.to_crlf(octets)
    header.fields(head)
    text.header_text(head)
    header.split(head)
    header.split_raw(octets)


def _sort_keys(octets: bytes) -> None:
    order.subject_key(octets)
    order.mailbox_key(octets, b"FROM")
    order.display_key(octets, b"TO")
    order.sent_day(octets)
    order.sent_date(octets, 0)


def _search_field(octets: bytes) -> None:
    for name in (b"SUBJECT", b"FROM", b"X"):
        text.folded_fields(octets, name)


def _thread(octets: bytes) -> None:
    one = thread.entry(1, octets, 0)
    for algorithm in (thread.references, thread.refs, thread.ordered_subject):
        thread.render_threads(algorithm([one, one._replace(number=2)]))
    thread.root_id(octets)


def _mime(octets: bytes) -> None:
    mime.parse(octets)


def _structure(octets: bytes) -> None:
    root = mime.parse(octets)
    structure.render_body(root, octets)
    structure.render_bodystructure(root, octets, rev2=True)
    text.parse_pieces(text.render_pieces(text.pieces(root, octets)))
    attached.has_attachment(root)
    attached.attachment_keyword(lambda start, count: octets[start : start + count], len(octets))


def _sections(octets: bytes) -> None:
    root = mime.parse(octets)
    names = (b"SUBJECT", b"FROM", b"X")
    many = tuple(b"X%d" % n for n in range(40))
    for part in ((), (1,), (1, 1)):
        for kind in (b"", b"HEADER", b"HEADER.FIELDS", b"HEADER.FIELDS.NOT", b"TEXT", b"MIME"):
            if part or kind != b"MIME":
                section.extract(octets, part, kind, names, lambda: root)
        section.extract(octets, part, b"HEADER.FIELDS", many, lambda: root)
    found = mime.find(root, (1,))
    if found is not None:
        section.decode_part(octets, found)


def _search(octets: bytes) -> None:
    root = mime.parse(octets)
    for needle in ("NEEDLE", "N", "A" * 600, "N\u0308" * 300, "=" * 100):
        text.contains(octets, lambda: text.pieces(root, octets), needle, body_only=False)
    for _, folded in text.folded_texts(octets, text.pieces(root, octets), texts.GRAM - 1):
        texts.fit(folded)


def _known(octets: bytes) -> None:
    texts.parse_line(octets)
    texts.parse_known(octets)


def _preview(octets: bytes) -> None:
    root = mime.parse(octets)
    text.preview(octets, lambda: root)


def _wire(octets: bytes) -> None:
    peek_command(octets)
    parse(Frame(octets))


def _buffer(octets: bytes) -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    for at in range(0, len(octets), 4096):
        buffer.feed(octets[at : at + 4096])
        while (event := buffer.next_event()) is not None:
            if isinstance(event, LiteralWanted):
                buffer.refuse()


def _lines(octets: bytes) -> None:
    buffer = CommandBuffer(AFTER_LOGIN)
    for at in range(0, len(octets), 4096):
        buffer.feed(octets[at : at + 4096])
        while buffer.next_event(Expects.LINE) is not None:
            pass


def _names(octets: bytes) -> None:
    for utf8 in (False, True):
        try:
            normal.composed(decode_mailbox(octets, utf8=utf8))
        except (BadMailboxName, ProtocolError):
            pass


def _pattern(octets: bytes) -> None:
    pattern = Pattern(octets.decode("latin-1"), "/")
    for name in ("INBOX", "a/b/" * 60, "a" * 250):
        pattern.matches(name)


def _replay(octets: bytes) -> None:
    for _ in journal.replay(octets):
        pass
    journal.salvage(octets, 0)
    journal.parse_batch(octets)


def _filenames(octets: bytes) -> None:
    for name in octets.split(b"\n"):
        filename.parse(name[:255])


def _unpacked(octets: bytes) -> None:
    packed.unpacked(octets, "a target")


_MIXED = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"
_TEXT = b"Content-Type: text/plain; charset=%b\r\nContent-Transfer-Encoding: %b\r\n\r\n"

CONFIGURATION = (
    b"a = b\n",
    b"a {\n",
    b"a b {\n}\n",
    b"}\n",
    b"a {}\n",
    b"# a\n",
    b"a = \\\n",
    b'a = "\\"',
    b" #",
    b"{",
    b"!include a\n",
)


def _configuration(octets: bytes) -> object:
    return dovecot_config.parse(octets.decode("utf-8", "replace"))


_LMTP = (*SIGNS, b"@", b"<a@b>", b" SIZE=9", b"\r\n.", b"\r\n..", b"Received: x\r\n", b"Received: x id a\r\n ", b"\n\t")


def _dots(octets: bytes) -> object:
    reader = DotText()
    return [reader.take(octets[n : n + 4096]) for n in range(0, len(octets), 4096) if not reader.ended]


def _seen(octets: bytes) -> object:
    seen = HeaderSeen()
    for n in range(0, len(octets), 4096):
        seen.take(octets[n : n + 4096])
    seen.finish()
    return seen


TARGETS: dict[str, Target] = {
    **{
        f"LMTP {name.decode()}": Target(parse_lmtp, _LMTP, name, most=LINE_OCTETS, refusals=(BadCommand,))
        for name in (b"MAIL FROM:<", b"MAIL FROM:<@", b'RCPT TO:<"', b"RCPT TO:<a@b> ", b"BDAT ", b"")
    },
    "LMTP lines": Target(lambda octets: cut_command(bytearray(octets)), _LMTP, refusals=(BadCommand,)),
    "LMTP text": Target(_dots, _LMTP),
    "header of a delivery": Target(_seen, _LMTP),
    "header": Target(_all_header, WORDS),
    "HTTP": Target(parse_http, WORDS, b"GET / HTTP/1.0\r\nA: ", most=HEAD_OCTETS, refusals=(BadHttp,)),
    "HTTP request": Target(parse_http, WORDS, b"GET ", most=HEAD_OCTETS, refusals=(BadHttp,)),
    **{f"header {name.decode()}": Target(_all_header, WORDS, name + b": ", b"\r\n\r\n") for name in _FIELDS[:2]},
    "addresses": Target(parse_addresses, WORDS),
    "an address in angles": Target(parse_addresses, WORDS, b"a <", b">"),
    "encoded words": Target(header.decode_rfc2047, WORDS),
    "one encoded word": Target(header.decode_rfc2047, WORDS, b"=?utf-8?q?", b"?="),
    "undecodable": Target(header.undecodable, WORDS),
    "dates": Target(order.parse_date, WORDS),
    "message ids": Target(thread.message_ids, WORDS),
    "one message id": Target(thread.message_ids, WORDS, b"<", b"@>"),
    "one quoted message id": Target(thread.message_ids, WORDS, b'<"', b"@>"),
    **{f"envelope {name.decode()}": Target(render_envelope, WORDS, name + b": ", b"\r\n\r\n") for name in _FIELDS},
    "envelope": Target(render_envelope, (*WORDS, *(name + b": a\r\n" for name in _FIELDS))),
    **{f"sort keys {name.decode()}": Target(_sort_keys, WORDS, name + b": ", b"\r\n\r\n") for name in _FIELDS[:4]},
    **{f"search {name.decode()}": Target(_search_field, WORDS, name + b": ", b"\r\n\r\n") for name in _FIELDS[:2]},
    "search fields": Target(_search_field, (*WORDS, b"X: a\r\n", b"X: =?utf-8?q?=CC=95?=\r\n", b"X:\r\n")),
    **{f"thread {name.decode()}": Target(_thread, WORDS, name + b": ", b"\r\n\r\n") for name in _FIELDS[4:7]},
    "thread Subject": Target(_thread, WORDS, b"Subject: ", b"\r\n\r\n"),
    "base subject": Target(lambda octets: order.base_subject(octets.decode("latin-1")), WORDS),
    "base subject of a forward": Target(
        lambda octets: order.base_subject(octets.decode("latin-1")), WORDS, b"[fwd:", b"]"
    ),
    "fold": Target(lambda octets: text.fold(octets.decode("utf-8", "replace")), WORDS),
    "index of texts": Target(
        _known, (b"9", b" ", b"9 ", b"\n", b"a", *WORDS[:12]), b"maildir-imapd texts 1 ", b"", refusals=(ValueError,)
    ),
    "mime": Target(_mime, WORDS, _MIXED),
    "mime type": Target(_mime, WORDS, b"Content-Type: ", b"\r\n\r\n"),
    "mime parameters": Target(_mime, (*WORDS, b"; a*1=b", b"; a*1*=%"), b"Content-Type: a/b; ", b"\r\n\r\n"),
    "mime boundary": Target(
        _mime, WORDS, b'Content-Type: multipart/mixed; boundary="', b'"\r\n\r\n' + b"--a\r\n\r\n" * 200
    ),
    "mime comments": Target(_mime, WORDS, b"Content-Type: (", b") a/b\r\n\r\n"),
    "mime of many kinds": Target(
        _mime,
        (
            b"--x\r\nContent-Type: message/rfc822\r\n\r\n",
            b"--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n",
            b"--x\r\nContent-Type: multipart/digest; boundary=xx\r\n\r\n",
            b"Content-Type: message/rfc822\r\n\r\n",
            b"--x\r\nContent-Type: a/b; boundary=",
            b"--x\r\n\r\n--x--\r\n",
        ),
        _MIXED,
    ),
    "structure": Target(_structure, (*WORDS, b"--x\r\nContent-Type: message/rfc822\r\n\r\nFrom: a\r\n\r\n"), _MIXED),
    "disposition": Target(_structure, WORDS, b"Content-Disposition: ", b"\r\n\r\n"),
    "language": Target(_structure, WORDS, b"Content-Language: ", b"\r\n\r\n"),
    "sections": Target(_sections, (*WORDS, b"X: y\r\n"), refusals=(UnknownCte,)),
    "sections of parts": Target(_sections, WORDS, _MIXED + b"--x\r\n", refusals=(UnknownCte,)),
    **{
        f"search {name} {encoding}": Target(
            _search, (*WORDS, b"a" * 599 + b"b", b"na"), _TEXT % (name.encode(), encoding.encode())
        )
        for name, encoding in (
            *(("utf-8", "8bit"), ("utf-8", "quoted-printable"), ("utf-8", "base64"), ("us-ascii", "7bit")),
            *(("utf-7", "7bit"), ("hz-gb-2312", "7bit"), ("iso-2022-jp", "7bit"), ("iso-2022-kr", "7bit")),
            *(
                ("utf-16", "8bit"),
                ("gb18030", "8bit"),
                ("big5", "8bit"),
                ("shift_jis", "8bit"),
                ("windows-1252", "8bit"),
            ),
        )
    },
    **{
        f"preview {kind} {encoding}": Target(
            _preview,
            WORDS,
            b"Content-Type: text/%b\r\nContent-Transfer-Encoding: %b\r\n\r\n" % (kind.encode(), encoding.encode()),
        )
        for kind, encoding in (
            *(("plain", "8bit"), ("html", "8bit"), ("html", "quoted-printable"), ("plain", "base64")),
            *(("enriched", "8bit"), ("calendar", "8bit")),
        )
    },
    **{
        f"{name} in HTML": Target(_preview, MARKUP, b"Content-Type: text/html\r\n\r\n" + begin, most=4 * 1024 * 1024)
        for name, begin in (("markup", b""), ("a style", b"<style>"), ("a tag", b"<a "), ("a value", b'<a b="'))
    },
    "search html": Target(_search, (*WORDS, *MARKUP), b"Content-Type: text/html; charset=utf-8\r\n\r\n"),
    "search around parts": Target(_search, (*WORDS, b"--x\r\n\r\n", b"--x--\r\n"), _MIXED),
    **{
        f"decode {name}": Target(lambda octets, name=name: transfer.decode_lenient(octets, name.encode()), WORDS)  # type: ignore[misc]
        for name in ("base64", "quoted-printable", "8bit")
    },
    **{
        f"charset {name.decode()}": Target(lambda octets, name=name: charset.decode_mail(name, octets), CODED)  # type: ignore[misc]
        for name in charset.CHARSETS
    },
    "line ends": Target(lines.to_crlf, WORDS),
    # --- the wire -----------------------------------------------------------------------------------
    "mutf7": Target(mutf7.decode, SIGNS, refusals=(ValueError,)),
    "mutf7 of any name": Target(lambda octets: mutf7.encode(octets.decode("utf-8", "replace")), SIGNS),
    "mailbox names": Target(_names, SIGNS),
    "patterns": Target(_pattern, (*SIGNS, b"*a", b"%", b"*%", b"a*")),
    "commands": Target(_buffer, (*SIGNS, b"a NOOP\r\n", b"a X {1+}\r\n", b"{1+}\r\n", b"{9}", b"a {99999999+}\r\n")),
    "lines": Target(_lines, SIGNS),
    **{
        f"wire {begin.decode()}": Target(
            _wire, (*units, *SIGNS), b"a " + begin, end, refusals=(ProtocolError, BadCharsetName)
        )
        for begin, units, end in (
            (b"SEARCH ", (b"NOT ", b"OR ", b"(", b"ALL ", b"1 ", b"OR ALL ", b"(OR ALL ", b'HEADER x "" '), b"ALL"),
            (b"SORT (DATE) UTF-8 ", (b"NOT ", b"OR ", b"(", b"ALL "), b"ALL"),
            (b"SORT (", (b"DATE ", b"REVERSE "), b"DATE) UTF-8 ALL"),
            (b"FETCH 1 ", (b"BODY[", b"1."), b""),
            (b"FETCH 1 (", (b"FLAGS ", b"BODY[1] ", b"BODY[HEADER.FIELDS (a)] "), b"UID)"),
            (b"FETCH 1 BODY[HEADER.FIELDS (", (b"a ", b'"a" '), b"a)]"),
            (b"FETCH ", (b"1,", b"1:2,", b"1:", b"0", b"9"), b"1 FLAGS"),
            (b"STORE 1 FLAGS (", (b"a ", b"\\Seen ", b"\\"), b"a)"),
            (b'LIST "" ', (b"*", b"%", b"*%"), b""),
            (b'LIST "" (', (b"a ", b"* "), b"a)"),
            (b"LIST (", (b"SUBSCRIBED ",), b'REMOTE) "" *'),
            (b"STATUS a (", (b"MESSAGES ",), b"UNSEEN)"),
            (b"APPEND a (", (b"\\Seen ", b"a "), b"a) {1+}"),
            (b"ID (", (b'"a" "b" ',), b'"a" NIL)'),
            (b"ENABLE ", (b"a ",), b"a"),
            (b"LOGIN ", (b'"',), b" a"),
            (b"NOTIFY SET ", (b"(selected NONE) ", b"(subtree (a) NONE) ", b"(mailboxes (a"), b"(personal NONE)"),
            (b"GETMETADATA a (", (b"/a ",), b"/b)"),
            (b"SETMETADATA a (", (b"/a NIL ",), b"/b NIL)"),
            (b"SETQUOTA a (", (b"STORAGE 1 ",), b"STORAGE 1)"),
            (b"ESEARCH IN (", (b"personal ", b"(mailboxes (a", b"subtree a "), b"personal) ALL"),
            (b"THREAD REFERENCES UTF-8 ", (b"NOT ",), b"ALL"),
            (b"COMPARATOR ", (b'"*" ', b'"a*" '), b'"*"'),
            (b"LANGUAGE ", (b"a ",), b"de"),
            (b"AUTHENTICATE PLAIN ", (b"AAAA",), b"===="),
        )
    },
    "sequence sets": Target(parse_number_set, (*SIGNS, b"1,", b"1:2,", b"*:1,"), refusals=(ImapdError,)),
    "urls": Target(parse_url, (*SIGNS, b"%61", b"/"), b"/a/;UID=1/;SECTION=", refusals=(ImapdError,)),
    "urls of names": Target(parse_url, (*SIGNS, b"%61", b"/"), b"/", b"/;UID=1", refusals=(ImapdError,)),
    "comparators": Target(_matches, (*SIGNS, b"*", b"a*", b"?", b"*i;unicode-casemap")),
    # --- files --------------------------------------------------------------------------------------
    "journal": Target(_replay, (*SIGNS, b"f 1 +S\n", b"c 1 1 00000000\n", b"a 1 - 1 1 1 a\n", b"k 1 a\n", b"e 1:2\n")),
    "checkpoint": Target(checkpoint.parse, (*SIGNS, b"k 1 a\n", b"t 1 1 1 1 a\n"), b"maildir-imapd index 2 "),
    "dovecot.conf": Target(_configuration, (*SIGNS, *CONFIGURATION), refusals=(ConfigError,)),
    "uidlist": Target(uidlist.parse, (*SIGNS, b"1 :a\n", b"1 a\n", b"1 W1 :"), b"3 V1 N9\n"),
    "uidlist head": Target(uidlist.parse, SIGNS, b"3 V1 N9 ", b"\n1 :a\n"),
    "subscriptions": Target(lambda octets: subscriptions.parse(octets, "/"), SIGNS),
    "subscriptions of version 2": Target(
        lambda octets: subscriptions.parse(octets, "/"), (*SIGNS, b"\x01"), b"V\t2\n\n"
    ),
    "subscriptions of Courier": Target(
        lambda octets: courier_files.parse_subscriptions(octets, "/"), (*SIGNS, b"INBOX.a\n")
    ),
    "keywords of Courier": Target(courier_files.parse_keywords, (*SIGNS, b"a:1 2\n")),
    "acl": Target(acl.parse, (*SIGNS, b"user=a lr\n", b"-anyone l\n")),
    "one quoted acl": Target(acl.parse, SIGNS, b'"user=', b'" lr\n'),
    "metadata": Target(lambda octets: metadata.parse(octets, 2), (*SIGNS, b"/a\tb\n", b"/a\tb\\n\n")),
    "metadata of the server": Target(metadata.parse_server, SIGNS, refusals=(ValueError, ImapdError)),
    "keyword file": Target(keywords.parse, (*SIGNS, b"1 a\n")),
    "special uses": Target(special_use.parse, (*SIGNS, b"a \\Sent\n")),
    "quota": Target(quota.parse, (*SIGNS, b"1 1\n", b"1S,1C,")),
    "gzip": Target(_unpacked, SIGNS, gzip.compress(b"a" * 100)[:-8], refusals=(ImapdError,)),
    "streams of gzip": Target(_unpacked, (gzip.compress(b"a"), gzip.compress(b"")), refusals=(ImapdError,)),
    "streams of zstd": Target(
        _unpacked, (zstandard.compress(b"a"), zstandard.compress(b"a" * 9)), refusals=(ImapdError,)
    ),
    "chunks of lz4": Target(
        _unpacked,
        (*SIGNS, b"\0\0\0\2\x10a"),
        b"Dovecot-LZ4\x0d\x2a\x9b\xc5\0\1\0\0",
        refusals=(ImapdError,),
    ),
    "file names": Target(_filenames, (*SIGNS, b",S=1", b":2,S\n", b"a,")),
    "dovecot index": Target(
        lambda octets: dovecot_index.parse_index(octets, range(1, 1000), private=True),
        (*SIGNS, b"\1\0\0\0"),
        b"\7\3\x78\0" + bytes(116),
    ),
    "dovecot log": Target(
        lambda octets: dovecot_index.read(None, [octets], range(1, 1000), private=True),
        (*SIGNS, b"\x80\x80\x80\x84\0\x04\0\0\0\0\1\0a\0\0\0", b"\x80\x80\x80\x85\x04\0\0\0"),
        b"\1\3\x28\0" + bytes(36),
    ),
}


def cases() -> Iterator[tuple[str, Target, bytes]]:
    """Each target with each of its units."""
    for name, target in TARGETS.items():
        for unit in dict.fromkeys(target.units):
            yield name, target, unit
