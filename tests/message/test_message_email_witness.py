"""Python's email package as a witness: where a message is sound, both see the same parts."""

from __future__ import annotations

import email
import email.header
import email.message
import email.policy
import email.utils
from pathlib import Path

import pytest

from maildir_imapd.message import lines, mime
from maildir_imapd.message.address import parse_addresses
from maildir_imapd.message.header import decode_rfc2047, fields, first, split
from maildir_imapd.message.mime import Part
from maildir_imapd.message.order import parse_date
from maildir_imapd.message.transfer import decode_lenient

CORPUS = Path(__file__).parent.parent / "corpus"

# Messages that are broken, and what the witness makes of them.
BROKEN = {
    "bounce": "cuts a delivery-status in blocks",
    "boundary-same-nested": "takes the end of the inner multipart for that of the outer",
    "cr-only": "takes a lone CR for a line end",
    "delivery-receipt": "parses the body of any message type",
    "encoding-unknown": "decodes uuencode",
    "external-body": "parses the body of any message type",
    "junk-in-header": "takes a line without colon for the end of the header",
    "message-base64": "decodes the message",
    "multipart-closed-at-once": "knows multiparts without parts",
    "multipart-cut-in-delimiter": "takes a delimiter cut off for a part",
    "multipart-empty-boundary": "takes it for text",
    "multipart-empty-parts": "wants a blank line in each part",
    "multipart-no-boundary": "takes it for text",
    "multipart-no-end": "drops the last line end",
    "multipart-without-parts": "takes it for text",
    "part-header-no-blank-line": "takes a line without colon for the end of the header",
    "rfc2231-params": "parses the body of any message type",
    "text-without-header": "takes a line without colon for the end of the header",
    "type-garbage": "keeps what is no type",
    "type-no-semicolon": "keeps what is no type",
}
ODD_HEADERS = {"cr-only", "junk-in-header", "text-without-header"}
SOUND = sorted(path.stem for path in CORPUS.glob("*.eml") if path.stem not in BROKEN)


def ours(part: Part, data: bytes) -> list[tuple[str, bytes | None]]:
    found: list[tuple[str, bytes | None]] = []
    left = [part]
    while left:
        part = left.pop()
        kind = f"{part.type.decode()}/{part.subtype.decode()}".lower()
        if part.children:
            found.append((kind, None))
            left.extend(reversed(part.children))
        elif part.message is not None:
            found.append((kind, None))
            left.append(part.message)
        else:
            found.append((kind, decode_lenient(data[part.body_start : part.end], part.encoding)))
    return found


def theirs(message: email.message.Message) -> list[tuple[str, bytes | None]]:
    found: list[tuple[str, bytes | None]] = []
    for part in message.walk():
        payload = None if part.is_multipart() else part.get_payload(decode=True)
        assert payload is None or isinstance(payload, bytes)
        found.append((part.get_content_type(), payload))
    return found


@pytest.mark.parametrize("name", SOUND)
def test_parts(name: str) -> None:
    data = lines.to_crlf((CORPUS / f"{name}.eml").read_bytes())
    assert ours(mime.parse(data), data) == theirs(email.message_from_bytes(data))


@pytest.mark.parametrize("name", sorted({*SOUND, *BROKEN} - ODD_HEADERS))
def test_fields(name: str) -> None:
    data = lines.to_crlf((CORPUS / f"{name}.eml").read_bytes())
    found = [name for name, *_ in fields(data[: split(data)])]
    assert found == [key.encode() for key in email.message_from_bytes(data)]


def test_addresses() -> None:
    value = (
        b'Jane Doe <jane@example.org>, "Miller, Ann" <ann@example.net>, bob@example.net (Bob), '
        b"=?utf-8?q?J=C3=B6rg?= <j@x.example>, G: x@y.example;"
    )
    found = [
        (address.name or b"", b"%b@%b" % (address.mailbox, address.host))
        for address in parse_addresses(value)
        if address.mailbox is not None and address.host is not None
    ]
    assert [(name.decode(), text.decode()) for name, text in found] == email.utils.getaddresses([value.decode()])


@pytest.mark.parametrize(
    "name", ["Subject", "From", "To", "Cc", "X-Koi8", "X-Gb", "X-Big5", "X-Jis", "X-Sjis", "X-Euc-Kr"]
)
def test_encoded_words(name: str) -> None:
    data = lines.to_crlf((CORPUS / "encoded-words.eml").read_bytes())
    value = first(data, name.upper().encode())
    assert value is not None
    witness = str(email.header.make_header(email.header.decode_header(value.decode())))
    assert decode_rfc2047(value).split() == witness.split()


@pytest.mark.parametrize("name", [name for name in SOUND if not name.startswith(("dates", "empty"))])
def test_dates(name: str) -> None:
    data = lines.to_crlf((CORPUS / f"{name}.eml").read_bytes())
    value = first(data[: split(data)], b"DATE")
    if value is None or b"(comment):" in value:
        return
    found = parse_date(value)
    assert found is not None
    witness = email.utils.parsedate_tz(value.decode().replace(":60 ", ":59 "))
    assert witness is not None
    assert found[0] == email.utils.mktime_tz(witness)


def test_broken_messages_exist() -> None:
    assert all((CORPUS / f"{name}.eml").exists() for name in BROKEN)
