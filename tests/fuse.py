"""A file system in this process, by the kernel's own protocol: an empty directory that answers only while it may.

It needs root and /dev/fuse, and no library.  For tests of what a mount that hangs does to a server.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import stat
import struct
import threading
from pathlib import Path
from typing import Self

_IN = struct.Struct("=IIQQIIII")
_OUT = struct.Struct("=IiQ")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
_LOOKUP, _FORGET, _GETATTR, _STATFS, _RELEASE, _INIT = 1, 2, 3, 17, 18, 26
_OPENDIR, _READDIR, _RELEASEDIR, _INTERRUPT, _BATCH_FORGET, _ACCESS = 27, 28, 29, 36, 42, 34
_DETACH = 2


def why_not(place: Path) -> str:
    """Why there can be none here; "" if there can."""
    if os.geteuid() != 0:
        return "only root can mount"
    try:
        with Hanging(place):
            return "" if os.listdir(place) == [] else "the mount is not ours"
    except OSError as error:
        return f"no file system of ours can be mounted: {error.strerror}"


class Hanging:
    """The mount.  While ``answers`` is not set every call to it hangs in the kernel."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.answers = threading.Event()
        self.answers.set()
        # What every question is answered with, when it is not 0.
        self.error = 0
        self._number = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._libc = ctypes.CDLL(None, use_errno=True)
        options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self._number
        if self._libc.mount(b"hanging", os.fsencode(place), b"fuse", 0, options):
            os.close(self._number)
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._end, self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="fuse", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._wake, b"x")
        self.answers.set()
        self._thread.join(30)
        # Whoever still hangs there is let go.
        os.close(self._number)
        self._libc.umount2(os.fsencode(self.place), _DETACH)
        os.close(self._end)
        os.close(self._wake)

    def _serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._number, self._end], [], [])
            if self._end in ready:
                return
            try:
                request = os.read(self._number, 1 << 20)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                continue
            self.answers.wait()
            _, opcode, unique, _, _, _, _, _ = _IN.unpack_from(request)
            said = self._answer(opcode)
            if said is None:
                continue
            body, trouble = (said, 0) if isinstance(said, bytes) else (b"", said)
            try:
                os.write(self._number, _OUT.pack(_OUT.size + len(body), -trouble, unique) + body)
            except OSError:
                pass  # whoever asked has been killed

    def _answer(self, opcode: int) -> bytes | int | None:
        """What is said; a number is an error, None: nothing is to be said."""
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            return None
        if opcode == _INIT:
            return struct.pack("=IIIIHHIIHHI28x", 7, 26, 65536, 0, 12, 9, 65536, 1, 1, 0, 0)
        if self.error:
            return self.error
        if opcode == _GETATTR:
            attributes = _ATTRIBUTES.pack(1, 0, 0, 0, 0, 0, 0, 0, 0, stat.S_IFDIR | 0o755, 2, 0, 0, 0, 4096, 0)
            return struct.pack("=QII", 0, 0, 0) + attributes
        if opcode == _OPENDIR:
            return struct.pack("=QII", 1, 0, 0)
        if opcode == _STATFS:
            return struct.pack("=QQQQQIIII24x", 1, 1, 1, 1, 1, 4096, 255, 4096, 0)
        if opcode in (_READDIR, _RELEASEDIR, _RELEASE, _ACCESS):
            return b""
        return errno.ENOENT if opcode == _LOOKUP else errno.ENOSYS
