from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import pytest

from maildir_imapd.message.thread import (
    REFERENCES_LIMIT,
    ThreadEntry,
    ThreadNode,
    entry,
    message_ids,
    ordered_subject,
    references,
    refs,
    render_threads,
    root_id,
)


def mail(
    number: int, parents: str = "", subject: str = "", reply: bool = False, date: int | None = None
) -> ThreadEntry:
    """Make an entry with its number as Message ID; *parents* names the references."""
    return ThreadEntry(
        number,
        b"%d" % number,
        tuple(parent.encode() for parent in parents.split()),
        subject or f"S{number}",
        reply,
        number if date is None else date,
    )


def shown(algorithm: Callable[[Sequence[ThreadEntry]], list[ThreadNode]], entries: Iterable[ThreadEntry]) -> str:
    return render_threads(algorithm(list(entries))).decode()


@pytest.mark.parametrize(
    ("entries", "threads"),
    [
        ([], ""),
        ([mail(1)], "(1)"),
        # RFC 5256 4: "* THREAD (2)(3 6 (4 23)(44 7 96))"
        (
            [mail(2), mail(3), mail(4, "6"), mail(6, "3"), mail(7, "44"), mail(23, "4"), mail(44, "6"), mail(96, "7")],
            "(2)(3 6 (4 23)(44 7 96))",
        ),
        # "3 and 5 are siblings of a parent that does not match": a dummy is kept at the top only
        ([mail(3, "x"), mail(5, "x")], "((3)(5))"),
        ([mail(3, "x")], "(3)"),
        ([mail(1), mail(2, "1 x"), mail(3, "1 x")], "(1 (2)(3))"),
        ([mail(1, "x y"), mail(2, "x z"), mail(3, "x")], "((1)(2)(3))"),
        # "If a message already has a parent, don't change the existing link."
        ([mail(1), mail(2), mail(3, "1 2"), mail(4, "2 1")], "(1 (2 3)(4))"),
        # the last reference is the parent, whatever was linked before
        ([mail(4, "1 2 3"), mail(1), mail(2), mail(3, "1")], "(1 3 4)(2)"),
        # "Note that if this message has no references, it will now have no parent."
        ([mail(3, "1 2"), mail(1), mail(2)], "(1)(2 3)"),
        # loops
        ([mail(1, "1")], "(1)"),
        ([mail(1, "2"), mail(2, "1")], "(2 1)"),
        ([mail(1, "3"), mail(2, "1"), mail(3, "2")], "(3 1 2)"),
        # (4), (6): siblings by sent date, then by sequence number
        (
            [mail(1, date=9), mail(2, "1", date=8), mail(3, "1", date=7), mail(4, date=5), mail(5, date=5)],
            "(4)(5)(1 (3)(2))",
        ),
        # (5): threads of one subject
        ([mail(1, subject="A"), mail(2, subject="A", reply=True)], "(1 2)"),
        ([mail(1, subject="A", reply=True), mail(2, subject="A")], "(2 1)"),
        ([mail(1, subject="A"), mail(2, subject="A")], "((1)(2))"),
        ([mail(1, subject="A", reply=True), mail(2, subject="A", reply=True)], "((1)(2))"),
        ([mail(1, subject="A"), mail(2, subject="A"), mail(3, subject="A")], "((1)(2)(3))"),
        ([mail(1, "x", subject="A"), mail(2, "x"), mail(3, subject="A")], "((1)(2)(3))"),
        ([mail(1, "x", subject="A"), mail(2, "x"), mail(3, "y", subject="A"), mail(4, "y")], "((1)(2)(3)(4))"),
        ([mail(1, subject="A"), mail(2, "1", subject="B"), mail(3, subject="A", reply=True)], "(1 (2)(3))"),
    ],
)
def test_references(entries: list[ThreadEntry], threads: str) -> None:
    assert shown(references, entries) == threads


def test_references_without_subject_are_not_gathered() -> None:
    entries = [ThreadEntry(number, b"%d" % number, (), "", False, number) for number in (1, 2)]
    assert shown(references, entries) == "(1)(2)"


def test_messages_without_or_with_the_same_id() -> None:
    entries = [
        ThreadEntry(1, b"x", (), "A", False, 1),
        ThreadEntry(2, b"x", (), "B", False, 2),
        ThreadEntry(3, None, (b"x",), "C", False, 3),
        ThreadEntry(4, None, (), "D", False, 4),
    ]
    assert shown(references, entries) == "(1 3)(2)(4)"


def test_refs_ignores_subjects_and_puts_the_newest_thread_last() -> None:
    entries = [mail(1, subject="A"), mail(2, subject="A"), mail(3, "1")]
    assert shown(refs, entries) == "(2)(1 3)"


def test_ordered_subject() -> None:
    entries = [
        mail(1, subject="B", date=5),
        mail(2, subject="A", date=3),
        mail(3, subject="B", date=4),
        mail(4, subject="A", date=6),
        mail(5, subject="B", date=9),
    ]
    assert shown(ordered_subject, entries) == "(2 4)(3 (1)(5))"
    assert shown(ordered_subject, []) == ""


def test_nothing_recurses() -> None:
    chain = [mail(number, str(number - 1)) for number in range(1, 5000)]
    assert shown(references, chain) == "(" + " ".join(str(number) for number in range(1, 5000)) + ")"
    assert shown(references, chain[::-1]).startswith("(1 2 3")
    # siblings all the way down: parentheses as deep as the mailbox
    comb = [mail(number, str(number - 2 - number % 2)) for number in range(2, 4000)]
    assert shown(references, comb).count("(") > 1000


@pytest.mark.parametrize("budget", [0, 1, 5])
def test_the_loop_check_ends_in_time(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from maildir_imapd.message import thread

    check = thread._LoopCheck(0)
    check.budget = budget
    monkeypatch.setattr(thread, "_LoopCheck", lambda _: check)
    entries = [mail(number, f"{number % 7} {number % 5} {number % 3}") for number in range(1, 30)]
    numbers = shown(references, entries).replace("(", " ").replace(")", " ").split()
    assert sorted(map(int, numbers)) == list(range(1, 30))


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        (b"", []),
        (b"<a@b>", [b"a@b"]),
        (b"<a@b> (c) <d@e>", [b"a@b", b"d@e"]),
        (b"<a@b><d@e>", [b"a@b", b"d@e"]),
        # "MUST normalize any msg-id"
        (b'<"01KF8JCEOCBS0045PS"@xxx.yyy.com>', [b"01KF8JCEOCBS0045PS@xxx.yyy.com"]),
        (b'<"a\\"b"@c>', [b'a"b@c']),
        (b"< a@b >", [b"a@b"]),
        (b"<no at sign> a@b <open@x", []),
        (b"<<a@b>", [b"a@b"]),
    ],
)
def test_message_ids(value: bytes, ids: list[bytes]) -> None:
    assert message_ids(value) == ids


def test_entry() -> None:
    header = (
        b"Message-ID: <3@x> <4@x>\r\nReferences: <1@x>\r\n <2@x>\r\nIn-Reply-To: <9@x>\r\n"
        b"Subject: Re: =?utf-8?q?=C3=A4?=\r\nDate: 1 Jan 1970 00:01:00 +0000\r\n\r\n"
    )
    assert entry(7, header, 99) == ThreadEntry(7, b"3@x", (b"1@x", b"2@x"), "A\N{COMBINING DIAERESIS}", True, 60)
    # "or the References header line does not contain any valid Message IDs"
    assert entry(7, b"References: none\r\nIn-Reply-To: <8@x> from <9@x>\r\n\r\n", 99).references == (b"8@x",)
    assert entry(7, b"\r\n", 99) == ThreadEntry(7, None, (), "", False, 99)


def test_references_of_one_message_are_limited() -> None:
    header = b"References:" + b"".join(b" <%d@x>" % number for number in range(3000)) + b"\r\n\r\n"
    found = entry(1, header, 0).references
    assert len(found) == REFERENCES_LIMIT
    assert found[-1] == b"2999@x"


@pytest.mark.parametrize(
    ("fields", "root"),
    [
        ("Message-ID: <a@b>\n", b"a@b"),
        ("Message-ID: <a@b>\nReferences: <c@d> <e@f>\nIn-Reply-To: <e@f>\n", b"c@d"),
        ("Message-ID: <a@b>\nReferences: none\nIn-Reply-To: Your mail <e@f>\n", b"e@f"),
        ("Message-ID: a@b\nReferences:\n", None),
        ("Subject: <a@b>\n", None),
        ('References: <"c"@d>\n', b"c@d"),
        ("References: " + "<c@d> ".join("x" * 5) + " <e@f>" * 20_000 + "\n", b"c@d"),
    ],
)
def test_which_message_began_the_thread(fields: str, root: bytes | None) -> None:
    assert root_id(fields.replace("\n", "\r\n").encode() + b"\r\n") == root
