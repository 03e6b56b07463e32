"""Responses: their exact octets, and that nothing from outside can add a line to them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.wire import render
from maildir_imapd.wire.cursor import Cursor


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (render.tagged(b"a1", b"OK", "NOOP completed"), b"a1 OK NOOP completed\r\n"),
        (render.tagged(b"a", b"NO", "No", b"TRYCREATE"), b"a NO [TRYCREATE] No\r\n"),
        (render.untagged(b"BYE", ""), b"* BYE -\r\n"),
        (render.untagged(b"OK", "[x] a\r\nb\0\tc ä"), b"* OK (x] a b??c ?\r\n"),
        (render.untagged(b"OK", "x", b"a\r\nb"), b"* OK [a??b] x\r\n"),
        (render.tagged(b"a", b"OK", "[é\r\n\x85\u2028\0\x9b\ud800ü", utf8=True), "a OK (é   ???ü\r\n".encode()),
        (render.tagged(b"a", b"OK", "é", b"X", utf8=True), "a OK [X] é\r\n".encode()),
        (render.continuation("à toi", utf8=True), "+ à toi\r\n".encode()),
        (render.continuation(), b"+ OK\r\n"),
        (render.continuation("idling"), b"+ idling\r\n"),
        (render.challenge(b""), b"+ \r\n"),
        (render.challenge(b"YQ=="), b"+ YQ==\r\n"),
        (render.capability_line([b"IMAP4rev1", b"IDLE"]), b"* CAPABILITY IMAP4rev1 IDLE\r\n"),
        (render.enabled_line([]), b"* ENABLED\r\n"),
        (render.enabled_line([b"CONDSTORE"]), b"* ENABLED CONDSTORE\r\n"),
        (render.id_line(None), b"* ID NIL\r\n"),
        (render.id_line([(b"name", b"x"), (b"os", None)]), b'* ID ("name" "x" "os" NIL)\r\n'),
        (render.namespace_line([(b"", b"/")]), b'* NAMESPACE (("" "/")) NIL NIL\r\n'),
        (
            render.namespace_line([(b"", b"\\"), (b"#m", None)], None, [(b"#s.", b".")]),
            b'* NAMESPACE (("" "\\\\")("#m" NIL)) NIL (("#s." "."))\r\n',
        ),
        (
            # RFC 5255 3.4
            render.namespace_line(
                [(b"", b"/")], [(b"Other Users/", b"/")], translations={b"Other Users/": b"Andere Ben&APw-tzer/"}
            ),
            b'* NAMESPACE (("" "/")) (("Other Users/" "/" "TRANSLATION" ("Andere Ben&APw-tzer/"))) NIL\r\n',
        ),
        (render.render_flags(()), b"()"),
        (render.vanished_line([(1, 3), (7, 7)]), b"* VANISHED 1:3,7\r\n"),
        (render.vanished_line([(1, 3)], earlier=True), b"* VANISHED (EARLIER) 1:3\r\n"),
        (render.list_line(b"LIST", [b"\\HasNoChildren"], b"/", b"INBOX"), b'* LIST (\\HasNoChildren) "/" INBOX\r\n'),
        (render.list_line(b"LSUB", [], None, b"a b"), b'* LSUB () NIL "a b"\r\n'),
        (render.list_line(b"LIST", [], b'"', b""), b'* LIST () "\\"" ""\r\n'),
        (
            render.list_line(b"LIST", [], b"/", b"x", child_info=[b"SUBSCRIBED"]),
            b'* LIST () "/" x ("CHILDINFO" ("SUBSCRIBED"))\r\n',
        ),
        (
            render.list_line(b"LIST", [], b"/", b"x", child_info=[b"SUBSCRIBED"], old_name=b"a b"),
            b'* LIST () "/" x ("CHILDINFO" ("SUBSCRIBED") "OLDNAME" ("a b"))\r\n',
        ),
        (render.status_line(b"x", [(b"MESSAGES", b"3"), (b"SIZE", b"0")]), b"* STATUS x (MESSAGES 3 SIZE 0)\r\n"),
        (render.status_line(b"x", []), b"* STATUS x ()\r\n"),
        (render.quota_line(b"", [(b"STORAGE", 10, 512)]), b'* QUOTA "" (STORAGE 10 512)\r\n'),
        (render.quotaroot_line(b"INBOX", [b"", b"x"]), b'* QUOTAROOT INBOX "" x\r\n'),
        (render.quotaroot_line(b"x", []), b"* QUOTAROOT x\r\n"),
        (render.acl_line(b"x", [(b"fred", b"rw")]), b"* ACL x fred rw\r\n"),
        (render.listrights_line(b"x", b"fred", [b"", b"r", b"kx"]), b'* LISTRIGHTS x fred "" r kx\r\n'),
        (render.myrights_line(b"x", b"lrs"), b"* MYRIGHTS x lrs\r\n"),
        (
            render.metadata_line(b"", [(b"/shared/a", b"x"), (b"/shared/b", None), (b"/c", b"\0")]),
            b'* METADATA "" (/shared/a "x" /shared/b NIL /c ~{1}\r\n\0)\r\n',
        ),
        (render.metadata_changed_line(b"x", [b"/a", b"/b"]), b"* METADATA x /a /b\r\n"),
        (render.search_line([]), b"* SEARCH\r\n"),
        (render.search_line([], 5), b"* SEARCH\r\n"),
        (render.search_line([2, 84], 917), b"* SEARCH 2 84 (MODSEQ 917)\r\n"),
        (render.search_line([2], kind=b"SORT"), b"* SORT 2\r\n"),
        (render.esearch_line(b"a1", True, [(b"COUNT", b"0")]), b'* ESEARCH (TAG "a1") UID COUNT 0\r\n'),
        (render.esearch_line(None, False, []), b"* ESEARCH\r\n"),
        (
            render.esearch_line(b"a", True, [(b"ALL", b"1:3")], name=b"x y", uidvalidity=9),
            b'* ESEARCH (TAG "a" MAILBOX "x y" UIDVALIDITY 9) UID ALL 1:3\r\n',
        ),
        (render.language_line([b"EN", b"de"]), b'* LANGUAGE ("EN" "de")\r\n'),
        (render.comparator_line(b"i;basic"), b'* COMPARATOR "i;basic"\r\n'),
        (render.comparator_line(b"i;basic", [b"i;x"]), b'* COMPARATOR "i;basic" ("i;x")\r\n'),
        (render.appenduid_code(38505, [3955, 3956, 3958]), b"APPENDUID 38505 3955:3956,3958"),
        (render.copyuid_code(7, [(304, 3956), (319, 3957), (320, 3958)]), b"COPYUID 7 304,319:320 3956:3958"),
        (render.badcharset_code([b"US-ASCII", b"UTF-8"]), b"BADCHARSET (US-ASCII UTF-8)"),
    ],
)
def test_octets(line: bytes, expected: bytes) -> None:
    assert line == expected


@pytest.mark.parametrize(
    ("raw", "plain", "utf8"),
    [
        (b"INBOX", b"INBOX", b"INBOX"),
        (b"", b'""', b'""'),
        (b"nil", b'"nil"', b'"nil"'),
        (b"a/b&AOQ-", b"a/b&AOQ-", b"a/b&AOQ-"),
        (b"a b", b'"a b"', b'"a b"'),
        (b'a"\\', b'"a\\"\\\\"', b'"a\\"\\\\"'),
        (b"a%*", b'"a%*"', b'"a%*"'),
        (b'\xc3\xa4"', b'{3}\r\n\xc3\xa4"', b'"\xc3\xa4\\""'),
        (b"\xc3\xa4\r\n", b"{4}\r\n\xc3\xa4\r\n", b"{4}\r\n\xc3\xa4\r\n"),
    ],
)
def test_mailbox(raw: bytes, plain: bytes, utf8: bytes) -> None:
    assert render.mailbox(raw) == plain
    assert render.mailbox(raw, utf8=True) == utf8


without_nul = st.binary(max_size=40).map(lambda data: data.replace(b"\0", b""))


@given(without_nul, st.booleans())
def test_what_is_rendered_can_be_read(value: bytes, utf8: bool) -> None:
    for rendered in (render.astring(value), render.mailbox(value, utf8=utf8), render.string(value)):
        at = Cursor(rendered)
        assert at.astring() == value
        at.end()
    at = Cursor(render.nstring(value))
    assert at.nstring() == value


@given(st.text() | st.text("\r\n[] a\u2028\x85"))
def test_human_text_is_one_line(text: str) -> None:
    line = render.untagged(b"OK", text)
    assert re.fullmatch(rb"\* OK [\x20-\x5a\x5c-\x7e][\x20-\x7e]*\r\n", line)


@given(without_nul, without_nul)
def test_one_response_is_one_response(name: bytes, value: bytes) -> None:
    """Cut a response as a client does: line ends count only outside literals."""
    for response in (
        render.list_line(b"LIST", [], b"/", name),
        render.status_line(name, [(b"MESSAGES", b"1")]),
        render.id_line([(name, value)]),
        render.metadata_line(name, [(b"/a", value)]),
        render.acl_line(name, [(value, b"r")]),
        render.esearch_line(b"a", True, [], name=name),
        render.quotaroot_line(name, [value]),
    ):
        rest = response
        while (marker := re.match(rb'(?:[^"\r\n]|"(?:[^"\\\r\n]|\\.)*")*?\{(\d+)\}\r\n', rest)) is not None:
            rest = rest[marker.end() + int(marker[1]) :]
        assert rest.endswith(b"\r\n")
        assert b"\n" not in rest[:-2]
