"""Each message of the corpus beside what IMAP shows of it.

``python tests/message/test_message_corpus.py`` writes the ``.expected`` files anew; read the difference before
committing it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from maildir_imapd.message import envelope, header, lines, mime, section, structure, text

CORPUS = Path(__file__).parent.parent / "corpus"
NAMES = sorted(path.stem for path in CORPUS.glob("*.eml"))


def readable(octets: bytes) -> str:
    return octets.decode("latin-1").encode("unicode_escape").decode("ascii")


def numbered(root: mime.Part) -> Iterator[tuple[str, mime.Part]]:
    """List every part that a client can name."""
    left = [("", root, True)]
    while left:
        prefix, part, whole = left.pop()
        if part.children:
            found = [
                (f"{prefix}.{number}".lstrip("."), child, False) for number, child in enumerate(part.children, start=1)
            ]
            left.extend(reversed(found))
        elif whole:
            left.append((f"{prefix}.1".lstrip("."), part, False))
            continue
        elif part.message is not None:
            left.append((prefix, part.message, True))
        if not whole:
            yield prefix, part


def described(raw: bytes) -> str:
    data = lines.to_crlf(raw)
    root = mime.parse(data)
    out = [
        f"SIZE {len(data)}",
        "ENVELOPE " + readable(envelope.render_envelope(data[: header.split(data)])),
        "BODY " + readable(structure.render_body(root, data)),
        "BODYSTRUCTURE " + readable(structure.render_bodystructure(root, data)),
        "PREVIEW " + text.preview(data, lambda: root).encode("unicode_escape").decode("ascii"),
    ]
    for number, part in numbered(root):
        numbers = tuple(map(int, number.split(".")))
        head = section.extract(data, numbers, b"MIME", (), lambda: root)
        body = section.extract(data, numbers, b"", (), lambda: root)
        assert head is not None
        assert body is not None
        assert len(body) == part.size
        out.append(f"PART {number} MIME={len(head)} SIZE={len(body)} {readable(body[:40])}".rstrip())
    return "\n".join(out) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_expected(name: str) -> None:
    expected = (CORPUS / f"{name}.expected").read_text("ascii")
    assert described((CORPUS / f"{name}.eml").read_bytes()) == expected


@pytest.mark.parametrize("name", NAMES)
def test_line_ends_do_not_matter(name: str) -> None:
    raw = (CORPUS / f"{name}.eml").read_bytes()
    crlf = lines.to_crlf(raw)
    assert lines.to_crlf(crlf) is crlf
    assert described(raw) == described(crlf)


if __name__ == "__main__":
    for name in NAMES:
        (CORPUS / f"{name}.expected").write_text(described((CORPUS / f"{name}.eml").read_bytes()), "ascii")
