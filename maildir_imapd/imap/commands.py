"""Every module that enters commands into the table: importing this fills it."""

from maildir_imapd.imap.access import capability, comparator, compress, enable, id, language, login
from maildir_imapd.imap.mailboxes import list, manage, metadata, quota, rights, status
from maildir_imapd.imap.news import contexts, idle, notify
from maildir_imapd.imap.search import batches, multisearch, search, sort
from maildir_imapd.imap.selected import append, copy, expunge, fetch, select, store_flags, urlauth, urlfetch

__all__ = [
    "append",
    "batches",
    "capability",
    "comparator",
    "compress",
    "contexts",
    "copy",
    "enable",
    "expunge",
    "fetch",
    "id",
    "idle",
    "language",
    "list",
    "login",
    "manage",
    "metadata",
    "multisearch",
    "notify",
    "quota",
    "rights",
    "search",
    "select",
    "sort",
    "status",
    "store_flags",
    "urlauth",
    "urlfetch",
]
