"""Load what Python loads late, as long as everything can be read: before a process becomes the owner of the mail."""

from __future__ import annotations

import codecs
import encodings.idna
import importlib
from typing import Final

from maildir_imapd import normal
from maildir_imapd.auth import schemes
from maildir_imapd.events import Log
from maildir_imapd.message import charset

log = Log(__name__)

# Modules that the standard library, a library, or we import inside of functions that we call.
_MODULES: Final = ("maildir_imapd.server.back_ends", "_strptime", "linecache", "traceback", "stringprep", "unicodedata")
# Codecs that names of files, hosts and users go through.
_CODECS: Final = ("utf-8", "ascii", "latin-1", "idna", "punycode", "unicode_escape", "raw_unicode_escape")


def load() -> None:
    """Load all of it, and try the password schemes; those that cannot be used have a line in the log."""
    for name in _MODULES:
        importlib.import_module(name)
    for name in (*_CODECS, encodings.idna.__name__.rpartition(".")[2]):
        codecs.lookup(name)
    charset.load()
    normal.load()
    for scheme, why in schemes.load():
        log.warning("password scheme cannot be used", scheme=scheme, why=why)
