"""What a client may hear of a change, rule by rule: pure functions on two moments of a mailbox."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snapshots import in_small_pieces

from maildir_imapd.imap import advance
from maildir_imapd.imap.advance import Allowed, Change, diff, shown, withhold
from maildir_imapd.store.index.chunks import writable
from maildir_imapd.store.index.snapshot import COLUMNS, Snapshot, empty

NOBODY: frozenset[int] = frozenset()


def moment(*uids: int, uidnext: int) -> Snapshot:
    """A mailbox with these messages; a message's mod-sequence and size tell it from all others."""
    made = empty(7)
    values = {"uids": uids, "modseqs": [100 + uid for uid in uids], "sizes": [1000 + uid for uid in uids]}
    return Snapshot(
        {column: writable(array(code, values.get(column, [0] * len(uids)))) for column, code in COLUMNS},
        writable([b"%d" % uid for uid in uids]),
        extra={uid: frozenset({30}) for uid in uids if uid % 2},
        keywords=made.keywords,
        uidvalidity=7,
        uidnext=uidnext,
        modseq=200,
        revivals=made.revivals,
    )


OLD = moment(1, 2, 5, uidnext=6)


@pytest.mark.parametrize(
    ("new", "change"),
    [
        pytest.param(OLD, Change(), id="the same"),
        pytest.param(moment(1, 2, 5, uidnext=9), Change(), id="one came and went in between"),
        pytest.param(moment(1, 2, 5, 6, uidnext=7), Change(arrived=True), id="one came"),
        pytest.param(moment(1, 5, uidnext=6), Change([1]), id="one went"),
        pytest.param(moment(uidnext=6), Change([0, 1, 2]), id="all went"),
        pytest.param(moment(1, 2, uidnext=6), Change([2]), id="the last went"),
        pytest.param(moment(1, 2, 6, uidnext=7), Change([2], arrived=True), id="the last went, one came"),
        pytest.param(moment(1, 2, 3, 5, uidnext=6), Change((), {3}), id="one is there again"),
        pytest.param(moment(1, 2, 4, uidnext=6), Change([2], {4}), id="one is there again, one went"),
        pytest.param(moment(1, 2, 3, 5, 8, uidnext=9), Change((), {3}, True), id="one is there again, one came"),
    ],
)
def test_diff(new: Snapshot, change: Change) -> None:
    found = diff(OLD, new)
    assert (list(found.vanished), set(found.strangers), found.arrived) == (
        list(change.vanished),
        set(change.strangers),
        change.arrived,
    )


# RFC 3501 7.4.1 and RFC 5465 5, 6: UIDs 2 and 5 are gone, of which the client has removed 5 itself; 6 has come.
@pytest.mark.parametrize(
    ("expunge", "hold", "allowed"),
    [
        pytest.param(True, False, Allowed([1, 2], [], held=False), id="NOOP: all is told"),
        pytest.param(False, False, Allowed([], [1, 2], held=False), id="FETCH counts by number: no EXPUNGE"),
        pytest.param(True, True, Allowed([2], [1], held=True), id="NOTIFY without messages: its own alone"),
        pytest.param(False, True, Allowed([], [1, 2], held=True), id="NOTIFY, and FETCH counts: nothing"),
    ],
)
def test_withhold(expunge: bool, hold: bool, allowed: Allowed) -> None:
    new = moment(1, 6, uidnext=7)
    found = withhold(OLD, new, diff(OLD, new), expunge=expunge, hold=hold, own={5})
    assert (list(found.expunged), list(found.ghosts), found.held) == (
        list(allowed.expunged),
        list(allowed.ghosts),
        allowed.held,
    )


def test_without_arrivals_nothing_is_held() -> None:
    new = moment(1, 2, uidnext=6)
    assert not withhold(OLD, new, diff(OLD, new), expunge=True, hold=True, own=NOBODY).held


def test_a_ghost_stands_in_its_place_with_all_that_was_known_of_it() -> None:
    new = moment(1, 6, uidnext=7)
    allowed = withhold(OLD, new, diff(OLD, new), expunge=False, hold=False, own=NOBODY)
    found = shown(OLD, new, allowed, NOBODY)
    assert list(found.uids) == [1, 2, 5, 6]
    assert list(found.sizes) == [1001, 1002, 1005, 1006]
    assert found.extra.keys() == {1, 5}
    assert (found.uidnext, found.modseq) == (7, 200)


def test_what_is_held_is_not_seen_nor_is_its_uidnext() -> None:
    new = moment(1, 2, 5, 6, uidnext=7)
    found = shown(OLD, new, withhold(OLD, new, diff(OLD, new), expunge=True, hold=True, own=NOBODY), NOBODY)
    assert (list(found.uids), found.uidnext) == ([1, 2, 5], 6)


def test_the_mailboxs_own_snapshot_is_shown_where_it_can_be() -> None:
    new = moment(1, 2, 5, 6, uidnext=7)
    assert shown(OLD, new, withhold(OLD, new, diff(OLD, new), expunge=True, hold=False, own=NOBODY), {4}) is new


@given(
    st.lists(st.tuples(st.frozensets(st.integers(1, 30)), st.booleans(), st.booleans()), max_size=8),
    st.frozensets(st.integers(1, 30)),
    st.sampled_from([(1000, 64), (1000, 1), (0, 64), (0, 1)]),
)
def test_numbers_shift_only_as_the_client_was_told(
    moments: list[tuple[frozenset[int], bool, bool]], own: frozenset[int], limits: tuple[int, int]
) -> None:
    """Whatever happens, a client that does as told has the same UIDs in the same places (RFC 3501 7.4.1, 2.3.1.1)."""
    large, few = limits
    with in_small_pieces(large=large), pytest.MonkeyPatch.context() as patch:
        patch.setattr(advance, "_FEW", few)
        told(moments, own)


def told(moments: list[tuple[frozenset[int], bool, bool]], own: frozenset[int]) -> None:
    client: list[int] = []
    seen = moment(uidnext=1)
    hidden: set[int] = set()
    uidnext = 1
    for uids, expunge, hold in moments:
        uidnext = max(uidnext, *(uid + 1 for uid in uids), 1)
        new = moment(*sorted(uids), uidnext=uidnext)
        change = diff(seen, new)
        hidden |= change.strangers
        allowed = withhold(seen, new, change, expunge=expunge, hold=hold, own=own)
        if not expunge:
            assert not allowed.expunged
        for position in reversed(allowed.expunged):
            del client[position]
        seen = shown(seen, new, allowed, hidden)
        # EXISTS: what is new comes behind all that there is.
        assert list(seen.uids[: len(client)]) == client
        assert hold <= (len(seen.uids) == len(client))
        client = list(seen.uids)
        assert client == sorted(set(client))
        assert list(seen.sizes) == [1000 + uid for uid in client]
        assert list(seen.names) == [b"%d" % uid for uid in client]
        assert seen.extra.keys() == {uid for uid in client if uid % 2}
        assert len(seen) == len(client)
