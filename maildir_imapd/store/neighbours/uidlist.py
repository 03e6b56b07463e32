"""Other servers' UID files: ``dovecot-uidlist`` (versions 3 and 1) and ``courierimapuiddb`` (version 1's form).

    3 V1795392037 N3 G084425162582036b9b40000083ecc375
    1 :1795392037.M579570P16539.vm,S=73,W=79
    25017 W2481 :1276533073.M242911P3632.kurkku

    1 1795392021 3
    1 1795392021.M1P2V00I00_0.host,S=73

A parse error makes Dovecot unlink the file, which renumbers everybody's mail: what is rendered here is strict,
what is parsed is not.  Unknown header fields and record fields are kept and written back (maildir-formats 3, 6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from operator import lt
from typing import NamedTuple

LARGEST = 2**32 - 1

_LINES = {
    3: re.compile(rb"(?m)^([0-9]{1,10}) ([^:\n]*):([^:\n]+)(?::[^\n]*)?\n").findall,
    1: re.compile(rb"(?m)^([0-9]{1,10}) ()([^:\n]+)(?::[^\n]*)?\n").findall,
}


class Record(NamedTuple):
    """One message: *fields* as they stand (b"W2481"), *base* without the info part."""

    uid: int
    base: bytes
    fields: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class UidList:
    """A whole file.  *uidnext* is true even where the header's N is stale; *others* are header fields besides V
    and N, in their order; *problems* says what was wrong, for people.
    """

    uidvalidity: int
    uidnext: int
    records: tuple[Record, ...] = ()
    others: tuple[bytes, ...] = ()
    version: int = 3
    problems: tuple[str, ...] = field(default=(), compare=False)

    def uids(self) -> dict[bytes, int]:
        """The UID of each base."""
        return {record.base: record.uid for record in self.records}


def parse(data: bytes) -> UidList | None:
    """Read a file; None when its header cannot be understood, for then nothing in it can be believed.

    A record that is torn, out of order or names a UID or a base a second time is left out: its message gets
    a new UID, and no UID is given twice, for *uidnext* is above every one that was seen.
    """
    header, newline, body = data.partition(b"\n")
    if not newline:
        return None
    found = _header(header)
    if found is None:
        return None
    whole = _whole(body, found.version)
    if whole is not None:
        last = whole[-1].uid if whole else 0
        return replace(found, uidnext=max(found.uidnext, last + 1), records=whole)
    records: list[Record] = []
    problems: list[str] = []
    bases: set[bytes] = set()
    last = highest = 0
    lines = body.split(b"\n")
    if lines.pop():
        problems.append("the last line is torn")
    for number, line in enumerate(lines, 2):
        record = _record(line, found.version)
        if record is None:
            problems.append(f"line {number} cannot be understood")
            continue
        highest = max(highest, record.uid)
        if record.uid <= last:
            problems.append(f"line {number}: UID {record.uid} does not rise")
        elif record.base in bases:
            problems.append(f"line {number}: a message is named twice")
            last = record.uid
        else:
            last = record.uid
            bases.add(record.base)
            records.append(record)
    return replace(found, uidnext=max(found.uidnext, highest + 1), records=tuple(records), problems=tuple(problems))


def _whole(body: bytes, version: int) -> tuple[Record, ...] | None:
    """Read all lines at once, in a third of the time; None where one of them asks for a closer look."""
    lines = _LINES[version](body)
    if len(lines) != body.count(b"\n") or body[-1:] not in (b"\n", b""):
        return None
    uids = [int(number) for number, _, _ in lines]
    bases = [base for _, _, base in lines]
    sound = not (b"/" in body or b"\r" in body or b"\0" in body)
    if not sound or not all(map(lt, [0, *uids], [*uids, LARGEST])) or len(set(bases)) < len(bases):
        return None
    return tuple([Record(uid, base, tuple(head.split())) for uid, (_, head, base) in zip(uids, lines, strict=True)])


def _header(line: bytes) -> UidList | None:
    words = line.split(b" ")
    try:
        if words[0] == b"3":
            fields = {word[:1]: word for word in words[1:] if word}
            uidvalidity, uidnext = int(fields[b"V"][1:]), int(fields[b"N"][1:])
            others = tuple(word for word in words[1:] if word[:1] not in (b"V", b"N", b""))
            version = 3
        elif words[0] == b"1" and len(words) == 3:
            uidvalidity, uidnext, others, version = int(words[1]), int(words[2]), (), 1
        else:
            return None
    except (KeyError, ValueError):
        return None
    if not 0 < uidvalidity <= LARGEST or not 0 < uidnext <= LARGEST:
        return None
    return UidList(uidvalidity, uidnext, others=others, version=version)


def _record(line: bytes, version: int) -> Record | None:
    number, space, rest = line.partition(b" ")
    if not space or not number.isdigit() or len(number) > 10 or not 0 < int(number) < LARGEST:
        return None
    fields: tuple[bytes, ...] = ()
    if version == 3:
        head, colon, name = rest.partition(b":")
        if not colon:
            return None
        fields = tuple(head.split())
    else:
        name = rest
    # Dovecot before 2.0 wrote the info part, too.
    base = name.partition(b":")[0]
    if not base or b"/" in base or b"\r" in base or b"\0" in base:
        return None
    return Record(int(number), base, fields)


def render(uidlist: UidList) -> bytes:
    """Write a file as Dovecot reads it: UIDs rising, one line each, a line end behind the last."""
    if uidlist.version == 1:
        lines = [b"1 %d %d" % (uidlist.uidvalidity, uidlist.uidnext)]
        lines += [b"%d %b" % (record.uid, record.base) for record in uidlist.records]
    else:
        head = (b"3", b"V%d" % uidlist.uidvalidity, b"N%d" % uidlist.uidnext, *uidlist.others)
        lines = [b" ".join(head)]
        lines += [
            b"%d %b:%b" % (record.uid, b"".join(one + b" " for one in record.fields), record.base)
            for record in uidlist.records
        ]
    return b"\n".join(lines) + b"\n"


def unseen(old: UidList, uidnext: int) -> list[Record]:
    """Return what is listed from *uidnext* on: what others have put in since we looked."""
    return [record for record in old.records if record.uid >= uidnext]


def updated(
    old: UidList | None, *, uidvalidity: int, uidnext: int, rows: Iterable[tuple[int, bytes]], version: int
) -> UidList:
    """The file as it should be now: *rows* are (UID, base), rising, with *uidnext* above all that we know of.

    What the old one knew besides (GUID, unknown fields, fields of messages that are still there, UIDs that somebody
    has given out meanwhile) stays.  N is never lowered under one UIDVALIDITY, for Dovecot takes that for damage.
    """
    if old is not None and old.uidvalidity == uidvalidity and old.version == version:
        fields = {(record.uid, record.base): record.fields for record in old.records if record.fields}
        records = [Record(uid, base, fields.get((uid, base), ())) for uid, base in rows]
        records += unseen(old, uidnext)
        return UidList(uidvalidity, max(uidnext, old.uidnext), tuple(records), old.others, version)
    others = old.others if old is not None and old.version == version else ()
    return UidList(uidvalidity, uidnext, tuple(Record(uid, base) for uid, base in rows), others, version)
