import pytest

from maildir_imapd.message.mime import parse
from maildir_imapd.message.structure import render_body, render_bodystructure


@pytest.mark.parametrize(
    ("data", "body", "structure"),
    [
        # "a simple text message of 48 lines and 2279 octets"
        (
            b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n" + b"x" * 45 * 48 + b"y" * 23 + b"\r\n" * 48,
            b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 2279 48)',
            b'("TEXT" "PLAIN" ("CHARSET" "US-ASCII") NIL NIL "7bit" 2279 48 NIL NIL NIL NIL)',
        ),
        (
            b"",
            b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)',
            b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)',
        ),
        # all extension data of one part
        (
            (
                b"Content-Type: image/png; name=x\r\nContent-ID: <i@x>\r\nContent-Description: d\r\n"
                b"Content-Transfer-Encoding: base64\r\nContent-MD5: m\r\nContent-Location: l\r\n"
                b"Content-Language: en, de\r\nContent-Disposition: inline; filename=f\r\n\r\nbody"
            ),
            b'("image" "png" ("name" "x") "<i@x>" "d" "base64" 4)',
            b'("image" "png" ("name" "x") "<i@x>" "d" "base64" 4 "m" ("inline" ("filename" "f")) ("en" "de") "l")',
        ),
        # of a multipart
        (
            (
                b"Content-Type: multipart/mixed; boundary=x\r\nContent-Disposition: inline\r\nContent-Language: en\r\n"
                b"Content-Location: l\r\n\r\n--x\r\n\r\none\r\n--x\r\nContent-Type: image/png\r\n\r\ntwo\r\n--x--\r\n"
            ),
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0)("image" "png" NIL NIL NIL "7bit" 3) "mixed")',
            (
                b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 3 0 NIL NIL NIL NIL)'
                b'("image" "png" NIL NIL NIL "7bit" 3 NIL NIL NIL NIL) "mixed" '
                b'("boundary" "x") ("inline" NIL) ("en") "l")'
            ),
        ),
        # of a message
        (
            b"Content-Type: message/rfc822\r\nContent-MD5: m\r\n\r\nSubject: s\r\n\r\nbody\r\n",
            (
                b'("message" "rfc822" NIL NIL NIL "7bit" 20 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) '
                b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1) 3)'
            ),
            (
                b'("message" "rfc822" NIL NIL NIL "7bit" 20 (NIL "s" NIL NIL NIL NIL NIL NIL NIL NIL) '
                b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 6 1 NIL NIL NIL NIL) 3 "m" NIL NIL NIL)'
            ),
        ),
        # a multipart without parts
        (
            b"Content-Type: multipart/mixed\r\n\r\nbody",
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed")',
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL) "mixed" NIL NIL NIL NIL)',
        ),
        # strings that quoted cannot carry
        (
            b'Content-Type: a/b; name="a\\"b"; file=\xe4\r\n\r\n',
            b'("a" "b" ("name" "a\\"b" "file" {1}\r\n\xe4) NIL NIL "7bit" 0)',
            b'("a" "b" ("name" "a\\"b" "file" {1}\r\n\xe4) NIL NIL "7bit" 0 NIL NIL NIL NIL)',
        ),
    ],
)
def test_render(data: bytes, body: bytes, structure: bytes) -> None:
    root = parse(data)
    assert render_body(root, data) == body
    assert render_bodystructure(root, data) == structure


def test_no_recursion() -> None:
    data = b"Content-Type: message/rfc822\r\n\r\n" * 3000
    assert render_bodystructure(parse(data), data).count(b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)") == 100
