"""An index whose files belong to somebody else, in a directory that is ours: left by a run as root, or by a copy.

What can be read is copied under our name, so that no UID changes. What cannot be read is nobody's index here: it is
removed, and the folder gets another UIDVALIDITY.
"""

from __future__ import annotations

import os
from typing import Final

from maildir_imapd.events import Log
from maildir_imapd.store.disk import durable
from maildir_imapd.store.disk.descriptors import Descriptor
from maildir_imapd.store.index import lock
from maildir_imapd.store.index.constants import CHECKPOINT, JOURNAL, OLD

log = Log(__name__)

_NAMES: Final = (lock.NAME, CHECKPOINT, OLD, JOURNAL)


def replace(directory: Descriptor, path: bytes, mode: int) -> None:
    """Replace the files of an index that we may not write to, if the directory is ours; harmless where it is not."""
    with directory.use() as number:
        try:
            owner = os.fstat(number).st_uid
            if owner != os.geteuid() or not os.access(b".", os.W_OK, dir_fd=number, effective_ids=True):
                return
            for name in _NAMES:
                if not os.access(name, os.R_OK | os.W_OK, dir_fd=number, effective_ids=True):
                    _replace(number, name, path, mode, owner)
        except OSError as error:
            log.warning("index of another owner not replaced", path=path, why=error)


def _replace(directory: int, name: bytes, path: bytes, mode: int, owner: int) -> None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if status.st_uid == owner:
        return  # it is as its owner wants it
    try:
        data = durable.read_file(name, directory, durable.LARGE_OCTETS)
    except OSError:
        durable.unlink(name, directory)
        log.warning("index of another owner, removed", path=path, name=name, owner=status.st_uid)
        return
    durable.put(name, data, directory, durable=True, mode=mode)
    log.warning("index of another owner, replaced", path=path, name=name, owner=status.st_uid)
