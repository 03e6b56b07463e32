"""One Maildir, and what other programs do in it: for tests of the store."""

from __future__ import annotations

import os
from pathlib import Path

from maildir_imapd.store.mailbox import Mailbox
from maildir_imapd.store.maildir.flags import Flags


class Maildir:
    """A folder on the disk, as a mail program without our locks sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("", "cur", "new", "tmp"):
            (path / name).mkdir(exist_ok=True)
        self._boxes: list[Mailbox] = []
        self._count = 0

    def __fspath__(self) -> str:
        return str(self.path)

    def put(self, name: str, text: bytes = b"Subject: x\n\nbody\n", *, where: str = "cur") -> Path:
        """Deliver by hand: tmp/, then rename."""
        temporary = self.path / "tmp" / "t"
        temporary.write_bytes(text)
        target = self.path / where / name
        temporary.rename(target)
        return target

    def fill(self, count: int, flags: str = "") -> list[str]:
        """Deliver *count* messages into cur/, and return their bases."""
        bases = []
        for _ in range(count):
            base = f"{1700000000 + self._count}.M1P1.host"
            self._count += 1
            self.put(f"{base}:2,{flags}", b"Subject: %d\n\nbody\n" % self._count)
            bases.append(base)
        return bases

    def names(self, where: str = "cur") -> list[str]:
        return sorted(os.listdir(self.path / where))

    def open(self, **options: object) -> Mailbox:
        """Open another object for the folder, as another process would."""
        options.setdefault("fsync", "never")
        box = Mailbox(os.fsencode(self.path), **options)
        self._boxes.append(box)
        return box

    def close(self) -> None:
        for box in self._boxes:
            box.close()

    def settle(self) -> None:
        """Make both directories look as if nothing had happened for a while."""
        for name in ("cur", "new"):
            os.utime(self.path / name, (1_600_000_000, 1_600_000_000))

    def deliver(self, box: Mailbox, text: bytes = b"Subject: x\r\n\r\nbody\r\n", bits: int = 0) -> int:
        item = box.deliver()
        item.write(text)
        return box.commit([(item, Flags(bits), 1_000_000_000)])[0]
