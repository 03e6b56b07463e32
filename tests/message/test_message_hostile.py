"""Mail that was made to be slow or to take memory: one case for each that once was (docs/rules.md, H)."""

from __future__ import annotations

import tracemalloc

import pytest
from growth import demand_linear, repeated

from maildir_imapd.message import header, mime, order, text, thread
from maildir_imapd.message.address import parse_addresses
from maildir_imapd.message.envelope import render_envelope
from maildir_imapd.message.thread import message_ids

# --- time -----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("unit", [b")", b"[", b'"a"', b'"a"b'])
def test_words_without_blanks_between_them(unit: bytes) -> None:
    demand_linear(parse_addresses, repeated(unit), repr(unit), largest=512 * 1024)


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b"a"])
def test_a_quote_in_a_message_id_that_nothing_closes(unit: bytes) -> None:
    demand_linear(message_ids, repeated(unit, b'<"', b"@>"), repr(unit))


@pytest.mark.parametrize("field", ["Subject", "From", "To", "References", "Message-ID", "X"])
def test_marks_in_a_field(field: str) -> None:
    def head(size: int) -> bytes:
        return field.encode() + b": a" + "\u0315\u0300".encode() * (size // 4) + b"@b\r\n\r\n"

    for function in (
        order.subject_key,
        lambda octets: order.mailbox_key(octets, b"FROM"),
        lambda octets: order.display_key(octets, b"TO"),
        lambda octets: thread.entry(1, octets, 0),
        lambda octets: text.folded_fields(octets, b"X"),
        lambda octets: text.folded_fields(octets, b"FROM"),
        render_envelope,
    ):
        demand_linear(function, head, field, largest=64 * 1024)


# --- what comes out stays as it was ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'<"a b"@c>', [b"ab@c"]),
        (b'<"a\\"b"@c>', [b'a"b@c']),
        (b'<"a\\"b@c>', [b'"a\\"b@c']),
        (b'<"a"b"c@d>', [b'ab"c@d']),
        (b'<"a"@b> <"c\\>', [b"a@b"]),
    ],
)
def test_quotes_in_message_ids(value: bytes, found: list[bytes]) -> None:
    assert message_ids(value) == found


# --- limits ---------------------------------------------------------------------------------------


def test_of_a_long_field_the_beginning_counts() -> None:
    long = b"Subject: " + b"a" * header.VALUE_LIMIT_OCTETS + b"b\r\n\r\n"
    assert header.first(long, b"SUBJECT") == b"a" * (header.VALUE_LIMIT_OCTETS - 1)
    assert order.subject_key(long) == "A" * order.KEY_LIMIT_CHARACTERS
    assert len(text.folded_fields(long, b"SUBJECT") or "") < header.VALUE_LIMIT_OCTETS
    assert render_envelope(long).count(b"b") == 1


def test_of_long_references_the_end_counts() -> None:
    ids = [b"<%d@example.org>" % n for n in range(20_000)]
    entry = thread.entry(1, b"References: " + b"\r\n ".join(ids) + b"\r\n\r\n", 0)
    assert entry.references == tuple(one[1:-1] for one in ids[-thread.REFERENCES_LIMIT :])


def test_many_fields_of_one_name_have_one_limit() -> None:
    head = b"X: " + b"y" * 1000 + b"\r\n"
    assert sum(map(len, header.every(head * 500, b"X"))) <= header.VALUE_LIMIT_OCTETS


def test_what_folds_to_more_is_bounded_again() -> None:
    head = b"Subject: " + "\ufdfa".encode() * 20_000 + b"\r\n\r\n"
    assert len(order.subject_key(head)) == 3 * order.KEY_LIMIT_CHARACTERS
    assert len(text.folded_fields(head, b"SUBJECT") or "") == header.VALUE_LIMIT_OCTETS


def test_the_longest_korean_subject_is_not_cut() -> None:
    subject = "\uac01" * order.KEY_LIMIT_CHARACTERS
    assert order.short_key(subject) == text.fold(subject)


def test_a_header_of_folded_lines_takes_no_memory_for_each() -> None:
    head = b"Subject: a" + b"\r\n x" * 200_000 + b"\r\n\r\n"
    tracemalloc.start()
    try:
        header.first(head, b"SUBJECT")
        render_envelope(head)
        mime.parse(head)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(head)


@pytest.mark.parametrize("number", [b"&#" + b"9" * 5000 + b";", b"&#x" + b"f" * 5000, b"&#" + b"1" * 60_000])
def test_a_preview_of_a_character_with_thousands_of_digits(number: bytes) -> None:
    data = b"Content-Type: text/html\r\n\r\nbefore " + number + b" after"
    assert text.preview(data, lambda: mime.parse(data)).startswith("before \ufffd")


def test_long_values_are_not_remembered() -> None:
    before = order._known_base.cache_info().misses
    order.subject_key(b"Subject: " + b"a" * 60_000 + b"\r\n\r\n")
    assert order._known_base.cache_info().misses == before
