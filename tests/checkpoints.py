"""Checkpoints as earlier versions wrote them, for tests: the format is in maildir-imapd-index(5)."""

from __future__ import annotations

import zlib
from pathlib import Path

from maildir_imapd.store.index import checkpoint
from maildir_imapd.store.index.snapshot import COLUMNS
from maildir_imapd.store.index.state import IndexState


def rendered(state: IndexState, version: int) -> bytes:
    """Return the file as version 1 or 2 wrote it."""
    now = state.snapshot
    lines = [b"maildir-imapd index %d" % version, b"g %d %d" % (state.generation, state.position)]
    numbers = (now.uidvalidity, now.uidnext, now.modseq, state.reserve, state.whole_above)
    lines.append(b"v %d\nn %d\nm %d\nu %d\nl %d" % numbers)
    lines += [b"b %b" % boot for boot in state.boots]
    lines.append(b"s %d %d %d %d %d" % state.stamp)
    lines += [b"k %d %b" % (number, name) for number, name in enumerate(now.keywords) if name]
    lines += [b"h %d %d:%d" % gone for gone in state.history]
    lines += [b"t %d %d %d %d %b" % (*tomb, base) for base, tomb in state.tombs.items()]
    lines += [b"y %d %b" % (uid, b",".join(b"%d" % n for n in sorted(words))) for uid, words in now.extra.items()]
    names = b"\n".join(now.names)
    lines.append(b"d %d %d\n\n" % (len(now), len(names)))
    data = b"\n".join(lines)
    for column, _ in COLUMNS:
        if version > 1 or column != "fingerprints":
            values = getattr(now, column)
            data += b"".join(value.to_bytes(values.itemsize, "little", signed=value < 0) for value in values)
    data += names
    return data + zlib.crc32(data).to_bytes(4, "little")


def downgrade(path: Path, version: int) -> None:
    """Let the checkpoint at *path* be one that an earlier version left."""
    state = checkpoint.parse(path.read_bytes())
    assert state is not None
    path.write_bytes(rendered(state, version))
