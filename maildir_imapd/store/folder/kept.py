"""Messages that were expunged and that some client may still ask for, because it has not been told.

RFC 2180 4.1.1 lets a server keep them "available to satisfy subsequent FETCH commands until it is able to send an
EXPUNGE response to each client". So where another session shows the mailbox (claim.py says whether one of another
process does) the file is not removed but gets a hidden name in tmp/, where no program looks for mail and every one
removes after 36 hours what was left behind. Whoever tells the last client removes it, or who ends the last session, or
after ``KEPT_SECONDS`` anybody. The name has the folder's mod-sequence from before: as long as nobody has seen a later
expunge, it is not yet on record, and stays.
"""

from __future__ import annotations

import os
import time
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import descriptors, durable
from maildir_imapd.store.disk.descriptors import Descriptor

log = Log(__name__)

KEPT_SECONDS: Final = 600
KEPT_MESSAGES: Final = 1000
KEPT_OCTETS: Final = 256 * 1024 * 1024

_PREFIX: Final = b"maildir-imapd.gone."
_TMP: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class KeptMessages:
    """One folder's. *directory* is in use meanwhile."""

    def __init__(self, directory: Descriptor, path: bytes) -> None:
        self._directory = directory
        self._path = path
        self._messages = 0  # that this process keeps at most, and their octets
        self._octets = 0

    def put(self, place: bytes, uidvalidity: int, uid: int, modseq: int) -> bool:
        """Hide the file at *place* instead of removing it; False if there is no room, or it cannot be.

        Raises FileNotFoundError when it is not there, OSError.
        """
        number = self._directory.number
        octets = os.stat(place, dir_fd=number, follow_symlinks=False).st_size
        if self._messages >= KEPT_MESSAGES or self._octets + octets > KEPT_OCTETS:
            return False
        try:
            durable.rename(place, b"tmp/%b%d.%d.%d" % (_PREFIX, uidvalidity, uid, modseq), number, number)
        except FileNotFoundError:
            # Race: another program has renamed it; or there is no tmp/.
            os.stat(place, dir_fd=number, follow_symlinks=False)
            return False
        except OSError:
            return False  # whoever removes it hears why
        self._messages += 1
        self._octets += octets
        return True

    def open(self, uidvalidity: int, uid: int) -> int | None:
        """Open a message that was hidden; the caller closes the descriptor. None if there is none."""
        wanted = b"%b%d.%d." % (_PREFIX, uidvalidity, uid)
        try:
            with self._directory.use() as directory:
                tmp = descriptors.open(b"tmp", _TMP, dir_fd=directory)
            try:
                for name in self._names(tmp):
                    if name.startswith(wanted):
                        return descriptors.open(name, _FLAGS, dir_fd=tmp)
            finally:
                os.close(tmp)
        except OSError as error:
            if descriptors.out_of_descriptors(error):
                raise
        return None

    def sweep(self, told: int | None) -> bool:
        """Remove what nobody may ask for any more; say whether any is left. Never an error.

        *told*: of every expunge up to this mod-sequence all clients of this host have heard; None: of some not.
        """
        left = 0
        try:
            with self._directory.use() as directory:
                tmp = descriptors.open(b"tmp", _TMP, dir_fd=directory)
            try:
                for name in self._names(tmp):
                    if (told is not None and _modseq(name) < told) or self._too_old(tmp, name):
                        durable.unlink(name, tmp)
                    else:
                        left += 1
            finally:
                os.close(tmp)
        except OSError as error:
            log.debug("expunged messages not removed yet", path=self._path, why=error)
            return True
        if not left:
            self._messages = self._octets = 0
        return left > 0

    def _names(self, tmp: int) -> list[bytes]:
        return [name for name in map(os.fsencode, descriptors.again(os.listdir, tmp)) if name.startswith(_PREFIX)]

    def _too_old(self, tmp: int, name: bytes) -> bool:
        # By ctime, which the new name has set.
        try:
            age_seconds = time.time() - os.stat(name, dir_fd=tmp, follow_symlinks=False).st_ctime
        except FileNotFoundError:
            return False
        return abs(age_seconds) > KEPT_SECONDS


def _modseq(name: bytes) -> int:
    """The mod-sequence in a hidden name; one that is none of ours is of a time long ago."""
    last = name.rpartition(b".")[2]
    return int(last) if last.isdigit() else 0
