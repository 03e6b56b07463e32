"""Replies: short lines are joined, long ones handed over as they are, all in their order."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from spool import Spool

from maildir_imapd.imap import reply as module
from maildir_imapd.imap.engine import Engine
from maildir_imapd.imap.gate import Access
from maildir_imapd.imap.policy import Policy
from maildir_imapd.imap.reply import HIGH_WATER_OCTETS, PIECE_OCTETS, Reply
from maildir_imapd.store.account import Account


class Taken:
    """What a reply has handed over, call by call."""

    def __init__(self) -> None:
        self.calls: list[list[bytes]] = []
        self.reply = Reply(lambda data: self.calls.append([data]), self.all)

    def all(self, pieces: Sequence[bytes]) -> None:
        self.calls.append(list(pieces))


def test_short_lines_are_one_piece() -> None:
    taken = Taken()
    for line in (b"* 1\r\n", b"* 2\r\n", b"a OK\r\n"):
        taken.reply.write(line)
    taken.reply.flush()
    taken.reply.flush()
    assert taken.calls == [[b"* 1\r\n* 2\r\na OK\r\n"]]


def test_a_long_piece_is_handed_over_as_it_is() -> None:
    taken = Taken()
    body = b"x" * PIECE_OCTETS
    for line in (b"* 1 FETCH (", b"BODY[] {8192}\r\n", body, b")\r\n", b"a OK\r\n"):
        taken.reply.write(line)
    taken.reply.flush()
    ((begin, middle, end),) = taken.calls
    assert begin == b"* 1 FETCH (BODY[] {8192}\r\n"
    assert middle is body
    assert end == b")\r\na OK\r\n"
    taken.reply.write(b"b OK\r\n")
    taken.reply.flush()
    assert taken.calls[1:] == [[b"b OK\r\n"]]


@given(st.lists(st.sampled_from([0, 1, 50, PIECE_OCTETS - 1, PIECE_OCTETS, HIGH_WATER_OCTETS + 1]), max_size=30))
def test_nothing_is_lost_and_the_order_stays(sizes: list[int]) -> None:
    taken = Taken()
    lines = [bytes([n]) * size for n, size in enumerate(sizes)]
    for line in lines:
        taken.reply.write(line)
        assert taken.reply._size <= HIGH_WATER_OCTETS
    taken.reply.flush()
    assert b"".join(piece for call in taken.calls for piece in call) == b"".join(lines)
    assert taken.reply.sent == sum(sizes)


def test_a_body_that_is_in_memory_is_not_copied_into_its_row(spool: Spool) -> None:
    """Of two parts of one message in one row, with a NUL in one of them."""
    raw = b"Subject: x\r\n\r\n" + b"y" * PIECE_OCTETS + b"\0" + b"z" * PIECE_OCTETS
    spool.put("INBOX", raw, "S")
    taken = Taken()
    engine = Engine(Policy(), preauth=Access("ann", Account(bytes(spool.root), fsync="never")))
    engine.greet(taken.reply)
    engine.feed(b"s SELECT INBOX\r\n", taken.reply)
    taken.calls.clear()
    engine.feed(b"a FETCH 1 (FLAGS BODY.PEEK[] RFC822.SIZE BODY.PEEK[TEXT] BODY.PEEK[]<3.5>)\r\n", taken.reply)
    (pieces,) = taken.calls
    sent = raw.replace(b"\0", b"\x80")
    assert pieces[1::2] == [sent, sent[14:]]
    assert pieces[0] == b"* 1 FETCH (FLAGS (\\Seen) BODY[] {%d}\r\n" % len(sent)
    assert pieces[2] == b" RFC822.SIZE %d BODY[TEXT] {%d}\r\n" % (len(sent), len(sent[14:]))
    assert pieces[4].startswith(b" BODY[]<3> {5}\r\nject:)\r\na OK ")
    assert len(pieces) == 5


def test_there_are_never_more_pieces_than_one_call_takes() -> None:
    """IOV_MAX; behind each long one there may be a short one."""
    assert 2 * (module.HIGH_WATER_OCTETS // module.PIECE_OCTETS + 1) + 1 < 1024
