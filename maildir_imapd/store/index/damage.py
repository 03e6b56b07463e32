"""An index that does not verify: what is left of it, and the state that is made of that.

What clients hold must stay true: a UID keeps its message or is never used again, and where that cannot be promised
UIDVALIDITY changes. All mod-sequences rise, so that nobody misses a change that the lost part knew of, and the history
of expunges begins anew.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from maildir_imapd import errors
from maildir_imapd.store.disk import durable
from maildir_imapd.store.index import checkpoint, journal, loading
from maildir_imapd.store.index.columns import ColumnSource
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, LAST_UID, OLD, RESERVE
from maildir_imapd.store.index.evidence import Evidence
from maildir_imapd.store.index.expunges import NO_EXPUNGES
from maildir_imapd.store.index.journal import NEVER
from maildir_imapd.store.index.snapshot import Snapshot, empty
from maildir_imapd.store.index.state import IndexState

DAMAGED: Final = b".damaged"


def evidence(
    directory: int,
    path: bytes,
    mode: int,
    noted: tuple[int, int] | None,
    told: int,
    unseen: Callable[[Snapshot], ColumnSource] | None,
) -> Evidence:
    """Read what is left in *directory*, and set aside what does not verify; *noted* and *told* as of Evidence.

    *unseen*: as of ``loading.completed``.

    Under the folder's lock. Raises OtherVersion for another version's, OSError.
    """
    states: list[IndexState] = []
    for name in (CHECKPOINT, OLD):
        try:
            data = durable.read_file(name, directory, checkpoint.LARGEST_OCTETS)
        except FileNotFoundError:
            continue
        state = checkpoint.parse(data)
        if state is not None:
            states.append(loading.completed(state, unseen))
        elif checkpoint.of_another_version(data):
            raise errors.OtherVersion(detail=os.fsdecode(path))
        else:
            _set_aside(directory, name, data, mode)
    try:
        data = durable.read_file(JOURNAL, directory, durable.LARGE_OCTETS)
    except FileNotFoundError:
        data = b""
    good = tuple(journal.replay(data))
    if journal.of_another_version(data, good[-1][1] if good else 0):
        raise errors.OtherVersion(detail=os.fsdecode(path))
    later = tuple(journal.salvage(data, good[-1][1] if good else 0))
    if data:
        _set_aside(directory, JOURNAL, data, mode)
    return Evidence(tuple(states), good, later, noted, told)


def _set_aside(directory: int, name: bytes, data: bytes, mode: int) -> None:
    # A copy, not a rename: readers that have the journal open must see it lose its name.
    try:
        durable.put(name + DAMAGED, data, directory, durable=False, mode=mode)
    except OSError as error:
        if not durable.cannot_write(error):
            raise


def mended(found: Evidence, boot: bytes, another: Callable[[int], int], listed: int = 0) -> tuple[IndexState, int]:
    """Return the state to go on from, and how many batches of the journal are in it.

    *boot*: this start of the machine. *another*: gives a UIDVALIDITY that the folder has not had, after the last one.
    *listed*: the UIDVALIDITY under which another server's list has the UIDs, 0 for none.
    The caller compares the folder with it.
    """
    state, replayed = found.best()
    modseq = found.modseq() + 1
    rows = state.snapshot if state is not None else empty()
    uidvalidity = rows.uidvalidity
    if state is None and listed >= found.uidvalidity():
        uidvalidity = listed
    known = state is not None or (uidvalidity > 0 and uidvalidity == listed)
    uidnext = min(found.uidnext(uidvalidity), LAST_UID + 1) if known else 1
    if not known or not found.trusted(uidvalidity):
        # Nobody knows which UIDs the lost part gave out: they must not mean other messages now.
        uidvalidity = another(found.uidvalidity())
    rows = rows.evolve(uidnext=uidnext, modseq=modseq)
    rows.uidvalidity = uidvalidity
    rows.modseqs = array("Q", [modseq]) * len(rows)
    # From here on it is as immutable as every other snapshot.
    new = replace(
        state if state is not None else IndexState(),
        snapshot=rows,
        history=NO_EXPUNGES,
        whole_above=modseq,
        stamp=NEVER,
        generation=found.generation() + 1,
        position=0,
        reserve=min(uidnext - 1 + RESERVE, LAST_UID),
        boots=(boot,),
    )
    return new, replayed
