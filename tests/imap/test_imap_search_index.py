"""SEARCH with an index of texts: the same answers as without, and fewer messages read."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spool import Spool
from texts_index import Indexed, search

from maildir_imapd.errors import MailboxMissing
from maildir_imapd.imap.naming import mailbox_id
from maildir_imapd.imap.progress import Progress
from maildir_imapd.imap.search import finder as searching
from maildir_imapd.message import mime, text
from maildir_imapd.message.attached import attachments
from maildir_imapd.store.records import texts

KEYS = (b"TEXT", b"BODY")
# What folds otherwise than one would think, what SQLite and its queries make something else of, and plain letters.
LETTERS = [
    *"aAbBzß\u0149ǆﬁıİσς\u212b\ufdfa\t\u0301\u0345\ufffd\ufffe\uffff\U0001d11e\"'*()^-:",
    "\0",
    "&uuml;",
    "&#223;",
    " ",
]
TEXT = st.lists(st.sampled_from(LETTERS), max_size=24).map("".join)


def plain(subject: str, body: str, charset: str = "utf-8", subtype: str = "plain") -> bytes:
    head = f"Subject: {subject}\nContent-Type: text/{subtype}; charset={charset}\n\n".encode()
    return head + body.encode(charset, "replace") + b"\n"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """UIDs of messages that a search has looked into."""
    found: list[int] = []
    before = searching._contains

    def contains(*args: object) -> bool:
        content = args[-1]
        found.append(content.uid)  # type: ignore[attr-defined]
        return before(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "_contains", contains)
    return found


@pytest.mark.long
@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(TEXT, TEXT, st.sampled_from(["utf-8", "utf-16", "koi8-r"]), st.sampled_from(["plain", "html"])),
        max_size=5,
    ),
    st.lists(TEXT, max_size=4),
    st.data(),
)
def test_the_same_with_and_without(
    messages: list[tuple[str, str, str, str]], needles: list[str], data: st.DataObject
) -> None:
    """Whatever is there and whatever is sought, whether it is indexed already or not."""
    with tempfile.TemporaryDirectory() as directory:
        spool = Spool(Path(directory))
        indexed = Indexed(spool.root)
        cut = data.draw(st.integers(0, len(messages)))
        for number, message in enumerate(messages):
            spool.put("INBOX", plain(*message), "")
            if number == cut - 1:
                indexed.fill()
        for _, body, *_ in messages:
            start = data.draw(st.integers(0, max(0, len(body) - 1)))
            needles.append(body[start : start + data.draw(st.integers(1, 6))].replace("&uuml;", "ü"))
        one, other = indexed.client(), indexed.client(indexed=False)
        for needle in [*needles, "", "a", "zz", "zzz"]:
            # What is no CHAR8 cannot be sent.
            needle = needle.replace("\0", "")
            for key in KEYS:
                assert search(one, key, needle) == search(other, key, needle), (key, needle)
        indexed.close()


def test_only_what_may_match_is_read(spool: Spool, read: list[int]) -> None:
    for number in range(20):
        spool.put("INBOX", plain(f"number {number}", f"the text of {number * 1111}"), "")
    indexed = Indexed(spool.root)
    assert indexed.fill() == 20
    client = indexed.client()
    assert search(client, b"BODY", "of 7777") == [8]
    assert read == [8]
    assert search(client, b"BODY", "number 7") == []
    assert search(client, b"TEXT", "NUMBER 17") == [18]
    assert read == [8, 18]
    assert indexed.wanted == []


@pytest.mark.parametrize("needle", ["", "x", "te"])
def test_what_is_too_short_for_it_is_read(spool: Spool, read: list[int], needle: str) -> None:
    spool.put("INBOX", plain("s", "text"), "")
    spool.put("INBOX", plain("s", "other"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    search(indexed.client(), b"TEXT", needle)
    assert read == [1, 2]


def test_what_came_later_is_read_and_asked_for(spool: Spool, read: list[int]) -> None:
    spool.put("INBOX", plain("s", "needle in the first"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    client = indexed.client()
    assert indexed.wanted == []
    spool.put("INBOX", plain("s", "needle in the second"), "")
    spool.put("INBOX", plain("s", "nothing"), "")
    client.command(b"n NOOP")
    assert indexed.wanted == [os.fsencode(spool.root)], "a delivery asks for it"
    assert search(client, b"BODY", "needle") == [1, 2]
    assert read == [1, 2, 3]
    assert len(indexed.wanted) == 2, "and so does a search that had to read"
    assert indexed.fill() == 2
    read.clear()
    assert search(client, b"BODY", "needle") == [1, 2]
    assert read == [1, 2]


def test_what_is_expunged_is_proposed_no_more(spool: Spool, read: list[int]) -> None:
    for number in range(3):
        spool.put("INBOX", plain("s", f"needle {number}"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    client = indexed.client()
    client.command(b"f STORE 1 +FLAGS (\\Deleted)")
    client.command(b"e EXPUNGE")
    assert search(client, b"BODY", "needle") == [2, 3]
    indexed.fill()
    extent = indexed.texts.extent()
    assert extent is not None
    assert (extent.messages, extent.dead) == (2, 1)
    assert search(client, b"BODY", "needle 0") == []
    assert search(client, b"BODY", "needle 2") == [3]
    assert read[-1] == 3


def test_a_message_that_another_program_has_written_to(spool: Spool) -> None:
    base = spool.put("INBOX", plain("s", "before it was changed"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    client = indexed.client()
    assert search(client, b"BODY", "before it") == [1]
    file = spool.find("INBOX", base)
    file.write_bytes(plain("s", "after the change"))
    os.utime(file, ns=(1793613600_000000000, 1793613700_123456789))
    for again in range(2):
        # Somebody has looked at it, as the rounds do and whoever reads it.
        client.command(b"f FETCH 1 BODY.PEEK[]")
        assert search(client, b"BODY", "after the") == [1], again
        assert search(client, b"BODY", "before it") == [], again
        indexed.fill()


def test_a_message_that_somebody_may_be_writing_is_left_for_later(spool: Spool) -> None:
    base = spool.put("INBOX", plain("s", "half of it"), "", when=None, base="1793613600.M1P1.test")
    indexed = Indexed(spool.root)
    assert indexed.fill() == 0
    client = indexed.client()
    assert search(client, b"BODY", "half of it") == [1]
    os.utime(spool.find("INBOX", base), (1793613600, 1793613600))
    client.command(b"f FETCH 1 BODY.PEEK[]")
    assert indexed.fill() == 1
    assert search(client, b"BODY", "half of it") == [1]


def test_a_message_that_cannot_be_indexed_costs_no_other_its_place(
    spool: Spool, read: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for word in ("one", "two", "three"):
        spool.put("INBOX", plain(word, f"the text of {word}"), "")
    folded = text.folded_texts

    def failing(data: bytes, *args: object) -> object:
        if b"two" in data[:]:
            raise RecursionError("injected")
        return folded(data, *args)  # type: ignore[arg-type]

    indexed = Indexed(spool.root)
    monkeypatch.setattr(text, "folded_texts", failing)
    assert indexed.fill() == 2
    assert "message not indexed" in caplog.text
    assert search(indexed.client(), b"BODY", "of three") == [3]
    assert read == [2, 3]


def test_a_folder_that_goes_meanwhile_is_no_defect(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    for word in ("one", "two", "three"):
        spool.put("box", plain(word, f"the text of {word}"), "")
    indexed = Indexed(spool.root)

    class Deleting(Extractor):
        def at(self, uid: int) -> bool:
            if uid == 2:
                indexed.plain.delete("box")
            return True

    with pytest.raises(MailboxMissing):
        indexed.fill("box", Deleting(""))
    assert "not indexed" not in caplog.text


def test_a_folder_that_is_renamed_keeps_its_index(spool: Spool, read: list[int]) -> None:
    spool.folder("one")
    spool.put("one", plain("s", "needle"), "")
    indexed = Indexed(spool.root)
    indexed.fill("one")
    client = indexed.client()
    client.command(b"r RENAME one two")
    client.command(b"s SELECT two")
    assert search(client, b"BODY", "absent") == []
    assert read == []
    assert search(client, b"BODY", "needle") == [1]


def test_another_folder_of_that_name_has_none_of_it(spool: Spool, read: list[int]) -> None:
    spool.folder("one")
    spool.put("one", plain("s", "needle"), "")
    indexed = Indexed(spool.root)
    indexed.fill("one")
    client = indexed.client()
    client.command(b"d DELETE one")
    spool.folder("one")
    spool.put("one", plain("s", "other"), "")
    client.command(b"s SELECT one")
    assert search(client, b"BODY", "needle") == []
    assert search(client, b"BODY", "other") == [1]
    assert read == [1, 1]


def test_a_copy_of_a_folder_with_its_index(spool: Spool) -> None:
    """Two folders of one key: which message is which is said by the file."""
    spool.folder("one")
    spool.put("one", plain("s", "in common"), "")
    indexed = Indexed(spool.root)
    indexed.fill("one")
    os.system(f"cp -a {spool.path('one')} {spool.path('two')}")
    spool.put("one", plain("s", "only in one"), "")
    spool.put("two", plain("s", "only in two"), "")
    for _ in range(2):
        for name in ("one", "two"):
            client = indexed.client(name)
            assert search(client, b"BODY", "only in") == [2], name
            assert search(client, b"BODY", f"only in {name}") == [2], name
            assert search(client, b"BODY", "in common") == [1], name
            indexed.fill(name)


def test_numbers_that_begin_anew(spool: Spool) -> None:
    spool.put("INBOX", plain("s", "needle"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    for name in ("maildir-imapd.journal", "maildir-imapd.index", "maildir-imapd.lock"):
        (spool.root / name).unlink(missing_ok=True)
    spool.put("INBOX", plain("s", "other"), "", when=1, base="1.first")
    again = Indexed(spool.root)
    client = again.client()
    assert search(client, b"BODY", "needle") == [2]
    assert search(client, b"BODY", "other") == [1]


def test_progress_is_told_of_what_is_read(spool: Spool) -> None:
    for number in range(5):
        spool.put("INBOX", plain("s", f"needle {number}"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    client = indexed.client()
    reported: list[tuple[int, int]] = []

    class Noted(Progress):
        def report(self, done: int, goal: int) -> None:
            reported.append((done, goal))

    assert client.session.view is not None
    client.session.view.progress = Noted(lambda: 0.0)
    assert search(client, b"BODY", "needle 3") == [4]
    assert reported == [(0, 1)]


# --- what was extracted from attachments ----------------------------------------------------------

ATTACHED = (
    b"Subject: report\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nsee there\n"
    b"--x\nContent-Type: Application/PDF; name=a.pdf\nContent-Transfer-Encoding: base64\n\nJVBERg==\n"
    b"--x\nContent-Type: image/png\n\npng\n--x--\n"
)


class Extractor:
    """Extracts a text from each PDF."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.seen: list[tuple[bytes, bytes]] = []

    def at(self, uid: int) -> bool:
        return True

    def takes(self, kind: bytes) -> bool:
        return kind == b"application/pdf"

    def extract(self, kind: bytes, octets: bytes) -> str:
        self.seen.append((kind, octets))
        return self.text


def test_attachments_are_found_wherever_they_are() -> None:
    found = list(attachments(mime.parse(ATTACHED.replace(b"\n", b"\r\n"))))
    assert [(each.kind, each.encoding) for each in found] == [(b"application/pdf", b"base64"), (b"image/png", b"7bit")]


def test_an_extracted_text_is_found_with_the_index(spool: Spool) -> None:
    spool.put("INBOX", ATTACHED, "")
    spool.put("INBOX", plain("s", "quick brown"), "")
    indexed = Indexed(spool.root)
    extractor = Extractor("The quick\0 brown Straße\ud800 report of 2026")
    indexed.fill(filler=extractor)
    assert extractor.seen == [(b"application/pdf", b"%PDF")]
    client = indexed.client()
    for key in KEYS:
        assert search(client, key, "straße") == [1]
        assert search(client, key, "QUICK") == [1, 2]
        # All its trigrams are there, and it is not: what was extracted is looked at itself.
        assert search(client, key, "report of 2026 report") == []
        assert search(client, key, "see there") == [1]
    assert search(indexed.client(indexed=False), b"BODY", "straße") == []


def test_a_client_that_has_gone_ends_a_look_at_extracted_texts(spool: Spool) -> None:
    spool.put("INBOX", ATTACHED, "")
    indexed = Indexed(spool.root)
    indexed.fill(filler=Extractor("the quick brown fox"))
    rows = indexed.account.mailbox("INBOX").snapshot

    def gone() -> None:
        raise ConnectionResetError

    key = mailbox_id(indexed.account.mailbox("INBOX"), rows)
    with pytest.raises(ConnectionResetError):
        indexed.texts.propose(key, rows, range(1), "QUICK", body_only=True, attend=gone)
    assert indexed.file.exists()


def test_an_extracted_text_of_a_message_that_has_changed_is_not_believed(spool: Spool) -> None:
    base = spool.put("INBOX", ATTACHED, "")
    indexed = Indexed(spool.root)
    indexed.fill(filler=Extractor("in the first"))
    client = indexed.client()
    assert search(client, b"BODY", "in the first") == [1]
    file = spool.find("INBOX", base)
    file.write_bytes(ATTACHED.replace(b"see there", b"or here"))
    os.utime(file, ns=(1793613600_000000000, 1793613700_123456789))
    client.command(b"f FETCH 1 BODY.PEEK[]")
    assert search(client, b"BODY", "in the first") == []
    indexed.fill(filler=Extractor("in the second"))
    assert search(client, b"BODY", "in the second") == [1]
    assert search(client, b"BODY", "in the first") == []


# --- one that cannot be believed --------------------------------------------------------------------


def _cut(indexed: Indexed) -> None:
    os.truncate(indexed.file, indexed.file.stat().st_size // 2)


def _scribble(indexed: Indexed) -> None:
    data = bytearray(indexed.file.read_bytes())
    for at in range(0, len(data), 97):
        data[at] ^= 0x55
    indexed.file.write_bytes(data)


def _one_bit(indexed: Indexed) -> None:
    data = bytearray(indexed.file.read_bytes())
    data[-2000] ^= 1
    with open(indexed.file, "r+b") as file:
        file.write(data)


def _no_database(indexed: Indexed) -> None:
    indexed.file.write_bytes(b"no database at all")


def _gone(indexed: Indexed) -> None:
    indexed.file.unlink()


def _lock_gone(indexed: Indexed) -> None:
    indexed.lock.unlink()


def _link(indexed: Indexed) -> None:
    indexed.file.rename(indexed.root / "elsewhere")
    indexed.file.symlink_to(indexed.root / "elsewhere")


def _directory(indexed: Indexed) -> None:
    indexed.file.unlink()
    indexed.file.mkdir()


def _another_version(indexed: Indexed) -> None:
    indexed.lock.write_bytes(indexed.lock.read_bytes().replace(texts.VERSION, b"0-old"))


def _another_machine(indexed: Indexed) -> None:
    """A copy, as a backup brings it back."""
    data = indexed.file.read_bytes()
    indexed.file.unlink()
    indexed.file.write_bytes(data)


def _unreadable_line(indexed: Indexed) -> None:
    indexed.lock.write_bytes(b"\0" * 300)


DAMAGES: list[Callable[[Indexed], None]] = [
    _cut,
    _scribble,
    _one_bit,
    _no_database,
    _gone,
    _lock_gone,
    _link,
    _directory,
    _another_version,
    _another_machine,
    _unreadable_line,
]


@pytest.mark.long
@pytest.mark.parametrize("damage", DAMAGES)
def test_one_that_cannot_be_believed_costs_no_answer(spool: Spool, damage: Callable[[Indexed], None]) -> None:
    for number in range(6):
        spool.put("INBOX", plain(f"subject {number}", f"needle {number} " + "filling " * 300), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    damage(indexed)
    client = indexed.client()
    assert search(client, b"BODY", "needle 4") == [5]
    assert search(client, b"TEXT", "subject 2") == [3]
    assert indexed.wanted, "it is asked for anew"


@pytest.mark.long
@pytest.mark.parametrize("damage", [each for each in DAMAGES if each is not _directory])
def test_one_that_cannot_be_believed_is_made_anew(
    spool: Spool, damage: Callable[[Indexed], None], read: list[int]
) -> None:
    for number in range(6):
        spool.put("INBOX", plain(f"subject {number}", f"needle {number}"), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    damage(indexed)
    assert indexed.fill() == 6
    assert search(indexed.client(), b"BODY", "needle 4") == [5]
    assert read == [5]


@pytest.mark.parametrize("share", range(10))
def test_damage_that_nobody_could_have_seen(spool: Spool, share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that forgets: the state of the file is as it was left, and a page of it is not."""
    for number in range(6):
        spool.put("INBOX", plain(f"subject {number}", f"needle {number} " + "filling " * 300), "")
    indexed = Indexed(spool.root)
    indexed.fill()
    data = bytearray(indexed.file.read_bytes())
    start = share * len(data) // 10
    data[start : start + 512] = bytes(range(256)) * 2
    indexed.file.write_bytes(data)
    left = texts.LeftAs(*[0] * 4)
    monkeypatch.setattr(texts, "stamp", lambda directory: left)
    indexed.lock.write_bytes(texts.render_line(texts.VERSION, left))
    # Nobody promises the right answer then; but there is one, and no error.
    search(indexed.client(), b"BODY", "needle 4")
