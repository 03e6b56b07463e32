"""Which messages have attachments, for a person."""

from __future__ import annotations

import pytest

from maildir_imapd.message.attached import attachment_keyword, has_attachment
from maildir_imapd.message.mime import parse

PLAIN = "Content-Type: text/plain\n\nx\n"
HTML = "Content-Type: text/html\n\n<p>x\n"
PDF = "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nAAAA\n"
PICTURE = "Content-Type: image/png\nContent-ID: <a@b>\nContent-Disposition: inline; filename=a.png\n\nAAAA\n"
MESSAGE = "Content-Type: message/rfc822\n\nSubject: x\n\ny\n"


def multipart(kind: str, *parts: str) -> str:
    inner = "".join(f"--{kind}\n{part}" for part in parts)
    return f"Content-Type: multipart/{kind}; boundary={kind}\n\n{inner}--{kind}--\n"


def disposed(part: str, disposition: str) -> str:
    return f"Content-Disposition: {disposition}\n{part}"


REPORT = "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n"
SIGNATURE = disposed("Content-Type: application/pkcs7-signature\n\nAA\n", "attachment; filename=smime.p7s")
WITH = {
    "a part that says so": multipart("mixed", PLAIN, disposed(PDF, "attachment; filename=x.pdf")),
    "a text that says so": multipart("mixed", PLAIN, disposed(PLAIN, "ATTACHMENT")),
    "a word that nobody knows": multipart("mixed", PLAIN, disposed(PLAIN, "x-unheard-of")),
    "a part that says nothing": multipart("mixed", PLAIN, PDF),
    "a name, although it is to be shown": multipart("mixed", PLAIN, disposed(PLAIN, "inline; filename=notes.txt")),
    "a name in the way of RFC 2231": multipart("mixed", PLAIN, disposed(PLAIN, "inline; filename*=utf-8''n%C3%B6.txt")),
    "a picture behind the text": multipart("mixed", PLAIN, PICTURE),
    "deep down": multipart("mixed", multipart("related", HTML, PICTURE), PDF),
    "a message that was passed on": multipart("mixed", PLAIN, MESSAGE),
    "nothing else": PDF,
    "within a signature": multipart("signed", multipart("mixed", PLAIN, PDF), SIGNATURE),
}
WITHOUT = {
    "a text": PLAIN,
    "no header at all": "\nx\n",
    "both ways": multipart("alternative", PLAIN, HTML),
    "a text that is to be shown": multipart("mixed", PLAIN, disposed(PLAIN, "inline")),
    "a picture within the text": multipart("related", HTML, PICTURE),
    "a report": multipart("report", PLAIN, REPORT, MESSAGE),
    "a signature": multipart("signed", PLAIN, SIGNATURE),
    "what is encrypted": multipart("encrypted", "Content-Type: application/pgp-encrypted\n\nVersion: 1\n"),
    "nothing in it": "Content-Type: multipart/mixed; boundary=x\n\n--x--\n",
}


@pytest.mark.parametrize(
    ("text", "has"),
    [*((text, True) for text in WITH.values()), *((text, False) for text in WITHOUT.values())],
    ids=[*WITH, *WITHOUT],
)
def test_attachments(text: str, has: bool) -> None:
    raw = text.encode()
    assert has_attachment(parse(raw.replace(b"\n", b"\r\n"))) is has
    expected = b"$HasAttachment" if has else b"$HasNoAttachment"
    assert attachment_keyword(lambda start, octets: raw[start : start + octets], len(raw)) == expected


def test_a_message_within_has_its_own() -> None:
    """What is attached to a message that is part of a report is not attached to the report."""
    inner = "Content-Type: message/rfc822\n\n" + multipart("mixed", PLAIN, PDF)
    assert not has_attachment(parse(multipart("report", PLAIN, inner).replace("\n", "\r\n").encode()))
