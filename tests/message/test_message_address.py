import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message.address import ADDRESSES_LIMIT, GROUP_END, Address, parse_addresses

NOBODY = (b"MISSING_MAILBOX", b"MISSING_DOMAIN")


def at(mailbox: bytes, host: bytes, name: bytes | None = None, route: bytes | None = None) -> Address:
    return Address(name, route, mailbox, host)


def group(name: bytes) -> Address:
    return Address(None, None, name, None)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", []),
        (b"  ", []),
        (b"a@b", [at(b"a", b"b")]),
        (b"<a@b>", [at(b"a", b"b")]),
        (b"X Y <a@b>", [at(b"a", b"b", b"X Y")]),
        (b"X  Y\t Z <a@b>", [at(b"a", b"b", b"X Y Z")]),
        (b'"X, Y" <a@b>', [at(b"a", b"b", b"X, Y")]),
        (b'"X  Y" <a@b>', [at(b"a", b"b", b"X  Y")]),
        (b'"a\\"b\\\\c" <x@y>', [at(b"x", b"y", b'a"b\\c')]),
        (b'A "B C" D <a@b>', [at(b"a", b"b", b"A B C D")]),
        (b'"" <a@b>', [at(b"a", b"b")]),
        (b"a@b, c@d ,e@f,", [at(b"a", b"b"), at(b"c", b"d"), at(b"e", b"f")]),
        (b"X. Y. Z <a@b>", [at(b"a", b"b", b"X. Y. Z")]),
        (b"o'neil@x.y", [at(b"o'neil", b"x.y")]),
        (b"=?utf-8?q?J=C3=B6rg?= <j@x>", [at(b"j", b"x", b"=?utf-8?q?J=C3=B6rg?=")]),
        ("Jörg <j@x>".encode(), [at(b"j", b"x", "Jörg".encode())]),
        # RFC 5322 A.1.2
        (
            b'"Joe Q. Public" <john.q.public@example.com>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
            [
                at(b"john.q.public", b"example.com", b"Joe Q. Public"),
                at(b"sysservices", b"example.net", b'Giant; "Big" Box'),
            ],
        ),
        # A.1.3: groups
        (
            b"A Group:Ed Jones <c@a.test>,joe@where.test,John <jdoe@one.test>;",
            [
                group(b"A Group"),
                at(b"c", b"a.test", b"Ed Jones"),
                at(b"joe", b"where.test"),
                at(b"jdoe", b"one.test", b"John"),
                GROUP_END,
            ],
        ),
        (b"Undisclosed recipients:;", [group(b"Undisclosed recipients"), GROUP_END]),
        (b'"q g": a@b;, c@d', [group(b"q g"), at(b"a", b"b"), GROUP_END, at(b"c", b"d")]),
        (b"G: a@b", [group(b"G"), at(b"a", b"b"), GROUP_END]),
        (b": a@b;", [group(b""), at(b"a", b"b"), GROUP_END]),
        (b"g1: g2: a@b;;", [group(b"g1"), at(b"a", b"b", b"g2"), GROUP_END]),
        # A.5: white space and comments
        (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", [at(b"pete", b"silly.test", b"Pete")]),
        (b"a@b (Full Name)", [at(b"a", b"b", b"Full Name")]),
        (b"a@b (one (nested) \\) two)", [at(b"a", b"b", b"one (nested) ) two")]),
        (b"(before) a@b", [at(b"a", b"b", b"before")]),
        (b"X (c) Y <a@b> (tail)", [at(b"a", b"b", b"X Y")]),
        (b"(only a comment)", []),
        # A.6.1, A.6.3: obsolete forms
        (
            b"Mary Smith <@node.test:mary@example.net>, , jdoe@test  . example",
            [at(b"mary", b"example.net", b"Mary Smith", b"@node.test"), at(b"jdoe", b"test.example")],
        ),
        (b"<@r1,@r2:a@b>", [at(b"a", b"b", None, b"@r1,@r2")]),
        (b"a . b @ c . d", [at(b"a.b", b"c.d")]),
        (b'"a"."b"@c', [at(b"a.b", b"c")]),
        (b'"a b"@c', [at(b"a b", b"c")]),
        (b"a@[192.0.2.1], b@[IPv6:2001:db8::1]", [at(b"a", b"[192.0.2.1]"), at(b"b", b"[IPv6:2001:db8::1]")]),
        # what is none, and still has to be shown
        (b"foo", [at(b"foo", b"MISSING_DOMAIN")]),
        (b"foo bar", [at(*NOBODY, b"foo bar")]),
        (b'"foo bar"', [at(*NOBODY, b"foo bar")]),
        (b"foo <bar>", [at(b"bar", b"MISSING_DOMAIN", b"foo")]),
        (b"<>", [at(*NOBODY)]),
        (b"X <>", [at(*NOBODY, b"X")]),
        (b"a@", [at(b"a", b"MISSING_DOMAIN")]),
        (b"@b", [at(b"MISSING_MAILBOX", b"b")]),
        (b"x@y@z", [at(b"x", b"y")]),
        (b"a@b c@d", [at(b"a", b"b")]),
        (b"a@b; c@d", [at(b"a", b"b"), at(b"c", b"d")]),
        (b"<a@b", [at(b"a", b"b")]),
        (b"<a@b, c@d", [at(b"a", b"b"), at(b"c", b"d")]),
        (b"a@b>", [at(b"a", b"b")]),
        (b"a@b <c@d>", [at(b"c", b"d", b"a@b")]),
        (b"John Smith js@x", [at(b"js", b"x", b"John Smith")]),
        (b"X <a b@c>", [at(b"a b", b"c", b"X")]),
        (b"X <a@b> Y <c@d>, e@f", [at(b"a", b"b", b"X"), at(b"e", b"f")]),
        (b'"unterminated <a@b>, c@d', [at(b"a", b"b", b"unterminated"), at(b"c", b"d")]),
        (b"(unterminated \\", []),
        # a quoted or encoded word alone is a name
        (b'"foo"', [at(*NOBODY, b"foo")]),
        (b'"foo", a@b', [at(*NOBODY, b"foo"), at(b"a", b"b")]),
        (b'"a@b"', [at(*NOBODY, b"a@b")]),
        (b"=?utf-8?q?foo?=", [at(*NOBODY, b"=?utf-8?q?foo?=")]),
        (b"=?utf-8?q?a@b?=", [at(*NOBODY, b"=?utf-8?q?a@b?=")]),
        (b"=?utf-8?q?a@b,_c@d?= <e@f>", [at(b"e", b"f", b"=?utf-8?q?a@b,_c@d?=")]),
        (b"=?utf-8?q?a@b,_c@d?=, e@f", [at(*NOBODY, b"=?utf-8?q?a@b,_c@d?="), at(b"e", b"f")]),
        (b"=?utf-8?q?open a@b, e@f", [at(b"a", b"b", b"=?utf-8?q?open"), at(b"e", b"f")]),
        (b'"foo"@b', [at(b"foo", b"b")]),
        # what stands where it may not lends its words to no address
        (b"X < Y <a@b>", [at(b"a", b"b", b"X Y")]),
        (b"<X <a@b>", [at(b"a", b"b", b"X")]),
        (b"<a@b <c@d>", [at(b"a", b"b")]),
        (b"<a@b <c@d>, e@f", [at(b"a", b"b"), at(b"e", b"f")]),
        (b"X > Y <a@b>", [at(b"a", b"b", b"X Y")]),
        (b"X>a@b", [at(b"a", b"b", b"X")]),
        (b"a@b>c", [at(b"a", b"b")]),
        (b"a@b:25", [at(b"a", b"b")]),
        (b"<a@b:25>", [at(b"a", b"b")]),
        (b"<a@b@c>", [at(b"a", b"b")]),
        (b"<a@b c@d>", [at(b"a", b"b")]),
        (b"<mailto:a@b>", [at(b"a", b"b")]),
        (b"X <mailto:a@b>", [at(b"a", b"b", b"X")]),
        (b"g1:g2:a@b;", [group(b"g1"), at(b"a", b"b", b"g2"), GROUP_END]),
        (b'"X"a@b', [at(b"a", b"b", b"X")]),
        (b'X"a@b', [at(b"a", b"b", b"X")]),
        (b'X"a@b, c@d', [at(b"a", b"b", b"X"), at(b"c", b"d")]),
        (b'a@b"c"', [at(b"a", b"b")]),
        (b'a@b"c', [at(b"a", b"b")]),
        (b"x(y)a@b", [at(b"a", b"b", b"x")]),
        (b"a@b(y)c", [at(b"a", b"b", b"y")]),
        (b'"X Jr." a@b', [at(b"a", b"b", b"X Jr.")]),
        (b"X Jr. a@b", [at(b"a", b"b", b"X Jr.")]),
        (b"Jr. a@b", [at(b"Jr.a", b"b")]),
        (b'"X".a@b', [at(b"X.a", b"b")]),
        (b'"X"Y.Z <a@b>', [at(b"a", b"b", b"XY.Z")]),
        (b'"X\\', [at(b"X\\", b"MISSING_DOMAIN")]),
        (b"[List] foo <a@b>", [at(b"a", b"b", b"[List] foo")]),
        (b",;,;:", [group(b""), GROUP_END]),
    ],
)
def test_parse_addresses(value: bytes, found: list[Address]) -> None:
    assert parse_addresses(value) == found


SIGNS = [
    b"a",
    b"b",
    b"cd",
    b"e",
    b" ",
    b"@",
    b"<",
    b">",
    b",",
    b";",
    b":",
    b'"',
    b"(",
    b")",
    b"[",
    b"]",
    b"=?a?q?",
    b"?=",
]


@given(st.lists(st.sampled_from(SIGNS), max_size=16).map(b"".join))
def test_nobody_is_shown_what_is_not_there(value: bytes) -> None:
    for found in parse_addresses(value):
        if found.host is not None and found.mailbox is not None:  # no group's name or end
            assert found.host == b"MISSING_DOMAIN" or found.host in value
            assert found.mailbox == b"MISSING_MAILBOX" or all(word in value for word in found.mailbox.split())


def test_a_long_list_is_cut() -> None:
    assert len(parse_addresses(b"a@b," * (ADDRESSES_LIMIT + 10))) == ADDRESSES_LIMIT
    assert len(parse_addresses(b"a@b (c)," * (ADDRESSES_LIMIT + 10))) == ADDRESSES_LIMIT


@pytest.mark.parametrize(
    "piece",
    [
        b"(",
        b'"\\',
        b"<",
        b"<@a,",
        b"a ",
        b"a .",
        b":",
        b"[",
        b"a:b;",
        b"\\",
        b'"',
        b"@",
        b"=?a?q?,",
        b"=?a",
        b'""',
        b"<a ",
    ],
)
def test_repeated_pieces_are_no_trouble(piece: bytes) -> None:
    parse_addresses(piece * 20_000)
