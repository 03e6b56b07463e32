"""Every module that enters commands into the table: importing this fills it."""

from maildir_imapd.imap import (
    append,
    capability,
    compress,
    copy,
    enable,
    expunge,
    extras,
    fetch,
    idle,
    list,  # the command's name
    login,
    mailboxes,
    multisearch,
    search,
    select,
    sort,
    status,
    store_flags,
)

__all__ = [
    "append",
    "capability",
    "compress",
    "copy",
    "enable",
    "expunge",
    "extras",
    "fetch",
    "idle",
    "list",
    "login",
    "mailboxes",
    "multisearch",
    "search",
    "select",
    "sort",
    "status",
    "store_flags",
]
