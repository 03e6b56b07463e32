"""The ways of laying folders out, by the names that the settings have for them."""

from __future__ import annotations

from typing import Final

from maildir_imapd.store.maildir.flat import MaildirPlusPlus
from maildir_imapd.store.maildir.layout import Layout
from maildir_imapd.store.maildir.nested import Nested

KINDS: Final[dict[str, type[Layout]]] = {"maildir++": MaildirPlusPlus, "fs": Nested}
