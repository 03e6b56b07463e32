"""Giving a folder back: what the other server's files have no place for is told."""

from __future__ import annotations

from typing import Any

from maildir_imapd.store.maildir.filename import LETTERED


def test_keywords_without_a_letter_are_told_with_their_messages(maildir: Any) -> None:
    maildir.fill(3)
    box = maildir.open(mirror="dovecot")
    names = [b"kw%d" % number for number in range(LETTERED + 40)]
    box.set_flags([1, 3], add=box.flags(names, create=True))
    box.set_flags([2], add=box.flags([names[-1]], create=True))
    released = box.release("dovecot")
    assert (released.messages, released.uidvalidity, released.uidnext) == (3, box.uidvalidity, 4)
    told = dict(released.unlettered)
    assert set(told) == set(names[LETTERED:])
    assert told[names[LETTERED]] == b"1,3"
    assert told[names[-1]] == b"1:3"


def test_courier_has_a_place_for_all(maildir: Any) -> None:
    maildir.fill(1)
    box = maildir.open(mirror="courier")
    box.set_flags([1], add=box.flags([b"kw%d" % number for number in range(LETTERED + 3)], create=True))
    assert box.release("courier").unlettered == ()
