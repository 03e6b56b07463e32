"""Sharing: who may do what in whose mailboxes, and where it is written who shares with whom."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, path, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "acl",
        switch,
        True,
        "Keep to the file dovecot-acl of each mailbox, in which Dovecot says who may do what there, and let clients "
        "read and change it (ACL). Where there is no such file the owner may do everything.",
        "yes|no",
        "Sharing",
        shown="yes",
    ),
    Setting(
        "acl_anyone",
        choice("auto", "yes", "no"),
        "auto",
        "Whether users may give rights to all users at once (SETACL with anyone or authenticated). auto: not where "
        "namespaces show others' mail, for who does it by mistake shows everybody his. What stands in lists already "
        "counts.",
        "auto|yes|no",
        "Sharing",
    ),
    Setting(
        "acl_shared_list",
        path,
        None,
        "The list of who shares mailboxes with whom, one file for all users, which SETACL and DELETEACL keep true: so "
        "what others share is found without looking through everybody's mail. It is what Dovecot's acl_shared_dict = "
        "file:PATH has, and both servers may use one. The workers must be able to make files in its directory: it is "
        "root's where users are system users, and mail_user's with mail_user; for several hosts it lies where the mail "
        "does. maildir-imapd acl rebuild makes it anew. See SHARING MAILBOXES in maildir-imapd(8).",
        "FILE",
        "Sharing",
    ),
    Setting(
        "acl_global",
        path,
        None,
        "Rights to mailboxes of all users by their names, which count after the mailbox's own and which no user "
        "changes: Dovecot's global ACL file, with lines of a pattern (* and ?), an identifier and rights, for example "
        "Archive/* owner lr; or its older directory of files that are called as the mailboxes are. It is looked at "
        "again each second.",
        "PATH",
        "Sharing",
    ),
    Setting(
        "acl_globals_only",
        switch,
        False,
        "The files dovecot-acl do not count, and no client changes them: acl_global alone says who may do what.",
        "yes|no",
        "Sharing",
        shown="no",
    ),
    Setting(
        "acl_defaults_from_inbox",
        switch,
        False,
        "Whoever is not the owner has in mailboxes whose lists do not mean him the rights that he has in INBOX.",
        "yes|no",
        "Sharing",
        shown="no",
    ),
)
