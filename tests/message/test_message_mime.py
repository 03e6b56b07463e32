"""The tree of parts; whole messages with their trees are in the corpus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maildir_imapd.message import mime
from maildir_imapd.message.mime import DEPTH_LIMIT, PARAMS_LIMIT, PARTS_LIMIT, Part, find, parse


def shape(part: Part) -> object:
    """Show a tree as nested lists of subtypes."""
    name = part.subtype.decode()
    if part.children:
        return [name, *map(shape, part.children)]
    if part.message is not None:
        return [name, shape(part.message)]
    return name


def message(content_type: bytes, *body: bytes) -> bytes:
    return b"Content-Type: " + content_type + b"\r\n\r\n" + b"\r\n".join(body)


def bodies(data: bytes, part: Part) -> list[bytes]:
    return [data[child.body_start : child.end] for child in part.children]


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "params"),
    [
        (b"text/html", b"text/html", ((b"charset", b"us-ascii"),)),
        (b"Text/HTML; CharSet=UTF-8", b"Text/HTML", ((b"CharSet", b"UTF-8"),)),
        (b"image/png", b"image/png", ()),
        (b"image/png;", b"image/png", ()),
        (b"image/png; name=a.png", b"image/png", ((b"name", b"a.png"),)),
        (b"image/png ;\r\n\tname = a.png ; x=y", b"image/png", ((b"name", b"a.png"), (b"x", b"y"))),
        (b'a/b; name="x; y=z"', b"a/b", ((b"name", b"x; y=z"),)),
        (b'a/b; name="a \\"b\\" \\\\ \\c"', b"a/b", ((b"name", b'a "b" \\ c'),)),
        (b'a/b; name=""; x=', b"a/b", ((b"name", b""), (b"x", b""))),
        (b"a/b; name=x; name=y", b"a/b", ((b"name", b"x"), (b"name", b"y"))),
        # comments, RFC 2045 5.1
        (b"text/plain; charset=us-ascii (Plain text)", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"(a) text (b) / (c) plain (d) ; (e) charset (f) = (g) x", b"text/plain", ((b"charset", b"x"),)),
        (b'a/b; x="(no comment)"', b"a/b", ((b"x", b"(no comment)"),)),
        (b"a/b; x=y (open; z=1", b"a/b", ((b"x", b"y"),)),
        # what senders do
        (b"text/plain charset=utf-8 name=x", b"text/plain", ((b"charset", b"utf-8"), (b"name", b"x"))),
        (b"a/b;; x=y;;", b"a/b", ((b"x", b"y"),)),
        (b"a/b; noequals; x=y", b"a/b", ((b"x", b"y"),)),
        (b"a/b; name=a@b/c?d", b"a/b", ((b"name", b"a@b/c?d"),)),
        (b"a/b; name=\xc3\xa4.txt", b"a/b", ((b"name", b"\xc3\xa4.txt"),)),
        (b'a/b; name="open; x=y', b"a/b", ((b"name", b"open"), (b"x", b"y"))),
        # RFC 2045 5.2: the default "when a syntactically invalid Content-Type header field is encountered"
        (b"", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"text", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"text/", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"/plain; charset=x", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"a/b/c", b"text/plain", ((b"charset", b"us-ascii"),)),
        (b"t\xe4xt/plain", b"text/plain", ((b"charset", b"us-ascii"),)),
        # RFC 2231
        (b"a/b; x*=utf-8''%e2%82%ac", b"a/b", ((b"x*", b"utf-8''%e2%82%ac"),)),
        (b"a/b; x*0=a; x*1=b; y=1", b"a/b", ((b"y", b"1"), (b"x", b"ab"))),
        (b"a/b; x*1=b; x*0=a", b"a/b", ((b"x", b"ab"),)),
        (b"a/b; X*0=a; x*1=b", b"a/b", ((b"X", b"ab"),)),
        (b"a/b; x*0*=u''%41; x*1=\"b c%\"", b"a/b", ((b"x*", b"u''%41b%20c%25"),)),
        (b"a/b; x*0=a; x*2=c", b"a/b", ((b"x", b"a"), (b"x*2", b"c"))),
        (b"a/b; x*1=b; x*99999=c", b"a/b", ((b"x*99999", b"c"), (b"x*1", b"b"))),
        (b"a/b; x*0=a; x*0=b", b"a/b", ((b"x", b"a"),)),
        # the first is not extended: without a charset in front the value would have one of its own octets for it
        (b"a/b; x*0=a; x*1*=%e4'b", b"a/b", ((b"x*", b"''a%e4'b"),)),
        (b'a/b; x*0="a b"; x*1*=%41', b"a/b", ((b"x*", b"''a%20b%41"),)),
    ],
)
def test_content_type(value: bytes, kind: bytes, params: mime.Params) -> None:
    part = parse(message(value, b"body"))
    assert part.type + b"/" + part.subtype == kind
    assert part.params == params


def test_parameters_are_limited() -> None:
    assert len(parse(message(b"a/b" + b"; x=y" * 1000)).params) == PARAMS_LIMIT
    sections = b"".join(b"; x*%d=y" % number for number in range(1000))
    assert parse(message(b"a/b" + sections)).params == ((b"x", b"y" * PARAMS_LIMIT),)


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [
        (b"Content-Transfer-Encoding: BASE64", "encoding", b"BASE64"),
        (b"Content-Transfer-Encoding: (c) base64 (d)", "encoding", b"base64"),
        (b"Content-Transfer-Encoding: base64;", "encoding", b"base64"),
        (b"Content-Transfer-Encoding:", "encoding", b"7bit"),
        (b"Content-Transfer-Encoding: x-foo", "encoding", b"x-foo"),
        (b"content-id: <a@b> ", "id", b"<a@b>"),
        (b"Content-Description: a\r\n b", "description", b"a b"),
        (b"Content-MD5: Q2hlY2s=", "md5", b"Q2hlY2s="),
        (b"Content-Location: http://a/\r\n b", "location", b"http://a/ b"),
        (b"Content-Language: en, de (German)", "languages", (b"en", b"de")),
        (b"Content-Language: , ,", "languages", ()),
        (b"Content-Disposition: attachment", "disposition", (b"attachment", ())),
        (b"Content-Disposition: inline; filename=x", "disposition", (b"inline", ((b"filename", b"x"),))),
        (b"Content-Disposition: ; filename=x", "disposition", None),
        (b"Content-Disposition:", "disposition", None),
        (b"Content-Id: <one>\r\nContent-ID: <two>", "id", b"<one>"),
    ],
)
def test_other_fields(field: bytes, name: str, value: object) -> None:
    assert getattr(parse(field + b"\r\n\r\nbody"), name) == value


def test_param_ignores_case() -> None:
    part = parse(message(b"text/plain; CHARSET=x"))
    assert part.param(b"charset") == b"x"
    assert part.param(b"name") is None


# --- parts ----------------------------------------------------------------------------------------


def test_plain() -> None:
    data = b"Subject: x\r\n\r\none\r\ntwo\r\nthree"
    part = parse(data)
    assert (part.header_start, part.body_start, part.end, part.lines, part.size) == (0, 14, 29, 2, 15)
    assert (part.children, part.message) == ((), None)


def test_the_crlf_before_a_delimiter_is_not_of_the_part() -> None:
    # RFC 2046 5.1.1: the first does "NOT end with a linebreak", the second "DOES"
    data = message(b"multipart/mixed; boundary=x", b"pre", b"--x", b"", b"one", b"--x", b"", b"two", b"", b"--x--", b"")
    assert bodies(data, parse(data)) == [b"one", b"two\r\n"]


def test_outer_boundaries_count_at_any_level() -> None:
    # RFC 2046 5.1.2
    data = message(
        b"multipart/mixed; boundary=x",
        b"--x",
        b"Content-Type: multipart/mixed; boundary=y",
        b"",
        b"--y",
        b"Content-Type: message/rfc822",
        b"",
        b"Subject: cut in its header",
        b"--x",
        b"",
        b"two",
        b"--x--",
    )
    root = parse(data)
    assert shape(root) == ["mixed", ["mixed", ["rfc822", "plain"]], "plain"]
    assert data[root.children[1].body_start : root.children[1].end] == b"two"


@pytest.mark.parametrize(("outer", "inner"), [(b"abc", b"abcd"), (b"abcd", b"abc"), (b"a", b"a--"), (b"x", b"x")])
def test_boundaries_that_begin_with_one_another(outer: bytes, inner: bytes) -> None:
    data = message(
        b"multipart/mixed; boundary=" + outer,
        b"--" + outer,
        b"Content-Type: multipart/mixed; boundary=" + inner,
        b"",
        b"--" + inner,
        b"",
        b"one",
        b"--" + inner + b"--",
        b"--" + outer,
        b"",
        b"two",
        b"--" + outer + b"--",
    )
    assert shape(parse(data)) == ["mixed", ["mixed", "plain"], "plain"]


def test_nothing_after_the_last_delimiter_is_a_part() -> None:
    data = message(b"multipart/mixed; boundary=x", b"--x", b"", b"one", b"--x--", b"--x", b"", b"two", b"--x--")
    assert bodies(data, parse(data)) == [b"one"]


@pytest.mark.parametrize(
    "spelled",
    [
        b"boundary*0=a; boundary*1=b",
        b"boundary*=us-ascii'en'%61b",
        b"boundary*0*=us-ascii''%61; boundary*1=b",
        b"boundary*0*=''a; boundary*1*=%62",
        b"boundary*0=a; boundary*1*=%62",
        b'boundary=""; boundary=ab',
        b"boundary=; boundary*=''ab",
        b"boundary=ab; boundary=x",
    ],
)
def test_boundaries_as_senders_spell_them(spelled: bytes) -> None:
    data = message(b"multipart/mixed; " + spelled, b"--ab", b"", b"one", b"--ab", b"", b"two", b"--ab--")
    assert bodies(data, parse(data)) == [b"one", b"two"]


def test_a_long_boundary_is_compared_by_its_beginning() -> None:
    boundary = b"b" * 500
    data = message(
        b"multipart/mixed; boundary=" + boundary, b"--" + boundary, b"", b"one", b"--" + boundary[:80] + b"x"
    )
    assert bodies(data, parse(data))[:1] == [b"one"]


@pytest.mark.parametrize(
    "data",
    [
        message(b"multipart/mixed", b"--x", b"", b"body", b"--x--"),
        message(b'multipart/mixed; boundary=""', b"--", b"", b"body"),
        message(b"multipart/mixed; boundary=x", b"no delimiter"),
        message(b"multipart/mixed; boundary=x", b"--x--"),
        b"Content-Type: multipart/mixed; boundary=x\r\n",
    ],
)
def test_a_multipart_without_parts_gets_an_empty_one(data: bytes) -> None:
    root = parse(data)
    assert shape(root) == ["mixed", "plain"]
    assert (root.children[0].size, root.children[0].lines) == (0, 0)


def test_digest_parts_are_messages() -> None:
    # RFC 2046 5.1.5, and only directly within the digest
    data = message(
        b"multipart/digest; boundary=x",
        b"--x",
        b"",
        b"Subject: one",
        b"Content-Type: multipart/mixed; boundary=y",
        b"",
        b"--y",
        b"",
        b"text",
        b"--y--",
        b"--x",
        b"Content-Type: text/html",
        b"",
        b"two",
        b"--x--",
    )
    assert shape(parse(data)) == ["digest", ["rfc822", ["mixed", "plain"]], "html"]


def test_lines_of_nested_messages() -> None:
    inner = b"Subject: inner\r\n\r\none\r\ntwo\r\n"
    middle = message(b"multipart/mixed; boundary=x", b"--x", b"Content-Type: message/rfc822", b"", inner, b"--x--", b"")
    root = parse(message(b"message/rfc822", middle))
    assert root.lines == middle.count(b"\n")
    assert root.message is not None
    assert root.message.children[0].lines == inner.count(b"\n")
    assert root.message.children[0].message is not None
    assert root.message.children[0].message.lines == 2


def test_depth_is_limited() -> None:
    root = parse(b"Content-Type: message/rfc822\r\n\r\n" * 500 + b"text")
    depth, part = 0, root
    while part.message is not None:
        depth, part = depth + 1, part.message
    assert depth == DEPTH_LIMIT
    assert (part.type, part.subtype) == (b"application", b"octet-stream")

    nested = b"".join(b"Content-Type: multipart/mixed; boundary=b%03d\r\n\r\n--b%03d\r\n" % (n, n) for n in range(500))
    depth, part = 0, parse(nested)
    while part.children:
        depth, part = depth + 1, part.children[0]
    assert depth == DEPTH_LIMIT
    assert (part.type, part.subtype) == (b"application", b"octet-stream")
    assert part.end == len(nested)


def test_parts_are_limited() -> None:
    data = message(b"multipart/mixed; boundary=x", *[b"--x\r\n\r\nbody"] * (PARTS_LIMIT + 100), b"--x--")
    root = parse(data)
    assert len(root.children) == PARTS_LIMIT - 1
    assert root.children[-1].end == len(data)


# --- find -----------------------------------------------------------------------------------------

FORWARD = message(
    b"multipart/mixed; boundary=b0",
    b"--b0",
    b"",
    b"1",
    b"--b0",
    b"Content-Type: message/rfc822",
    b"",
    b"Content-Type: text/plain",
    b"",
    b"2.1",
    b"--b0",
    b"Content-Type: message/rfc822",
    b"",
    b"Content-Type: multipart/mixed; boundary=b3",
    b"",
    b"--b3",
    b"",
    b"3.1",
    b"--b3",
    b"Content-Type: message/rfc822",
    b"",
    b"Subject: 3.2",
    b"",
    b"3.2.1",
    b"--b3--",
    b"--b0--",
)


@pytest.mark.parametrize("numbers", [(1,), (2, 1), (3, 1), (3, 2, 1)])
def test_find(numbers: tuple[int, ...]) -> None:
    part = find(parse(FORWARD), numbers)
    assert part is not None
    assert FORWARD[part.body_start : part.end].decode() == ".".join(map(str, numbers))


@pytest.mark.parametrize("numbers", [(0,), (4,), (1, 1), (2, 2), (2, 1, 1), (3, 3), (3, 1, 1), (3, 2, 2), (2**32,)])
def test_find_nothing(numbers: tuple[int, ...]) -> None:
    assert find(parse(FORWARD), numbers) is None


def test_find_in_a_message_that_is_no_multipart() -> None:
    root = parse(b"Subject: x\r\n\r\nbody")
    assert find(root, ()) is root
    assert find(root, (1,)) is root
    assert find(root, (1, 1)) is None
    assert find(root, (2,)) is None


def test_find_in_a_message_that_is_a_message() -> None:
    root = parse(message(b"message/rfc822", b"Subject: inner", b"", b"body"))
    assert find(root, (1,)) is root
    assert find(root, (1, 1)) is root.message
    assert find(root, (1, 1, 1)) is None
    assert find(root, (1, 2)) is None


# --- both ways through the parser agree --------------------------------------------------------------

PIECES = [
    b"Content-Type: multipart/mixed; boundary=x\r\n",
    b"Content-Type: multipart/digest; boundary=xy\r\n",
    b"Content-Type: message/rfc822\r\n",
    b"Content-Type: message/global\r\n",
    b"Content-Type: text/html\r\n",
    b"A: b\r\n",
    b"\r\n",
    b"--x\r\n",
    b"--xy\r\n",
    b"--x--\r\n",
    b"--xy--\r\n",
    b"line\r\n",
    b"cut",
    b"\r",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join))
def test_any_order_of_lines_makes_a_sound_tree(data: bytes) -> None:
    left: list[tuple[Part, int, int]] = [(parse(data), 0, len(data))]
    while left:
        part, start, end = left.pop()
        assert start <= part.header_start <= part.body_start <= part.end <= end
        if part.type.lower() == b"text" or part.message is not None:
            assert part.lines == data.count(b"\n", part.body_start, part.end)
        at = part.body_start
        for child in part.children:
            left.append((child, at, part.end))
            at = child.end
        if part.message is not None:
            assert (part.message.header_start, part.message.end) == (part.body_start, part.end)
            left.append((part.message, part.body_start, part.end))
