"""Mailboxes: how they are kept and shown."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import MOST, choice, delimiter, duration, extractor, mailbox_rule, path, prefix, size, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "mailboxes",
        mailbox_rule,
        None,
        "What is set up for mailboxes of all users: a name, its levels joined by / and without the prefix, and of use "
        "(a special use: Drafts, Sent, Junk, Trash, Archive), auto (no, create, or subscribe: make it where it is not "
        "there, and subscribe it), autoexpunge (messages go for good so long after they came into it) and "
        "autoexpunge_count (the oldest go where there are more), for example Trash: use=Trash, auto=subscribe, "
        "autoexpunge=30d. What a client sets itself (CREATE with USE) goes before use. Without this setting a user "
        "whose Maildir this server makes gets Drafts, Sent, Junk and Trash, subscribed, and others get none; with [] "
        "nobody does. The passwd-file's field userdb_mailboxes= goes before this: items joined by ;, blanks as %20, or "
        "no. May be given several times. See MAILBOXES THAT ARE THERE BY THEMSELVES in maildir-imapd(8).",
        "NAME:WORD=VALUE,...",
        "Mailboxes",
        many=True,
        shown="Drafts, Sent, Junk and Trash for new users",
    ),
    Setting(
        "keep_expunged",
        duration(0, 100 * 366 * 86400),
        0.0,
        "For so long messages that were expunged, or were in a mailbox that was deleted, can be had back with "
        "maildir-imapd message undelete. They do not count for the quota. 0: not at all; what was kept before stays "
        "then until the directory maildir-imapd.deleted in the spool is removed. The passwd-file's field "
        "userdb_keep_expunged goes before this.",
        "TIME",
        "Mailboxes",
        shown="0",
    ),
    Setting(
        "keep_expunged_storage",
        size(0, MOST),
        1 << 30,
        "What such messages of one user may take up on the disk; the oldest go where it is more, some seconds later. "
        "0: any number.",
        "SIZE",
        "Mailboxes",
        shown="1G",
    ),
    Setting(
        "delimiter",
        delimiter,
        "auto",
        "The hierarchy delimiter that clients see, whatever is on the disk. auto: . for Maildir++, / for LAYOUT=fs.",
        "auto|CHAR",
        "Mailboxes",
    ),
    Setting(
        "prefix",
        prefix,
        "auto",
        "What clients see before the name of every mailbox but INBOX, the delimiter at its end; it is no folder. "
        "Dovecot's namespace prefix. auto: INBOX. where Courier's files are, which shows all folders so, and none "
        "elsewhere.",
        "auto|none|PREFIX",
        "Mailboxes",
    ),
    Setting(
        "fsync",
        choice("delivery", "always", "never"),
        "delivery",
        "What is on disk before OK is said: new messages and their UIDs; all, flags too; or nothing "
        "(for tests and for spools that can be made again).",
        "delivery|always|never",
        "Mailboxes",
    ),
    Setting(
        "compress_mail",
        choice("none", "gz", "zstd"),
        "none",
        "How new messages lie on the disk, as with Dovecot's mail_compress: their names say what they measure unpacked "
        "(S=). Messages that are compressed already (gzip, bzip2, xz; zstd and lz4 with maildir-imapd[compress]) are "
        "read whatever this says; other programs on the spool may not be able to.",
        "none|gz|zstd",
        "Mailboxes",
    ),
    Setting(
        "follow_links",
        choice("no", "owner"),
        "owner",
        "Whether symbolic links in a spool are followed: to a folder, to a folder's cur/ or new/, and to a message, if "
        "what they lead to is a directory or a regular file of the user whose the Maildir is. Links to what is "
        "somebody else's are never followed, nor such as lead beyond what landlock allows; those that are not are "
        "named in the log and by adopt. The Maildir itself may be a link in any case.",
        "no|owner",
        "Mailboxes",
    ),
    Setting(
        "watch",
        choice("auto", "inotify", "poll"),
        "auto",
        "How changes by other programs are noticed. auto takes inotify where the kernel offers it, and polls as well "
        "where it hears not all: on network file systems, FUSE and overlays.",
        "auto|inotify|poll",
        "Mailboxes",
    ),
    Setting(
        "poll_interval",
        duration(0.1, 3600),
        1.0,
        "Pause between two looks where a folder is polled.",
        "TIME",
        "Mailboxes",
        shown="1s",
    ),
    Setting(
        "shared_spool",
        choice("no", "yes", "auto"),
        "auto",
        "Whether other hosts serve the same spool at the same time. auto: where its file system is one that several "
        "hosts mount (NFS, CephFS, GlusterFS and what else is FUSE, SMB, 9p, GFS2, OCFS2). Then all that others may "
        "have written is asked for anew, what is written is synced before its lock is given back, and folders are "
        "looked at every poll_interval, for inotify does not hear other hosts. See docs/hosts.md.",
        "no|yes|auto",
        "Mailboxes",
    ),
    Setting(
        "check_spool",
        switch,
        True,
        "Before a shared spool is served, try what one host alone can try of its mount, and serve nothing where mail "
        "would be lost on it; maildir-imapd check-spool tries all, from two hosts. no: serve it all the same.",
        "yes|no",
        "Mailboxes",
        shown="yes",
    ),
    Setting(
        "mirror",
        choice("auto", "dovecot", "courier", "none"),
        "auto",
        "Keep another server's list of UIDs true beside our index, so that going back is to stop this server and "
        "start that one: Dovecot's dovecot-uidlist, Courier's courierimapuiddb. auto does so for the server whose "
        "files are in the spool.",
        "auto|dovecot|courier|none",
        "Mailboxes",
    ),
    Setting(
        "coexist",
        switch,
        False,
        "The server that is mirrored runs on the same spool at the same time: take its locks around every look at a "
        "folder and every change, as it does.",
        "yes|no",
        "Mailboxes",
        shown="no",
    ),
    Setting(
        "xlist",
        switch,
        False,
        "Name XLIST among the capabilities, for old mail programs (of mobile telephones above all) that know special "
        "uses of mailboxes by it alone. Newer ones go by SPECIAL-USE, and some ask by XLIST as long as it is named.",
        "yes|no",
        "Mailboxes",
        shown="no",
    ),
    Setting(
        "utf8",
        choice("lenient", "strict", "no"),
        "lenient",
        "Whether clients may switch to UTF-8 (UTF8=ACCEPT, RFC 6855). With strict, as the RFC wants it, a message "
        "whose header is not ASCII is refused from a client that has not: most programs could then not copy old mail "
        "of that kind here. lenient takes it.",
        "lenient|strict|no",
        "Mailboxes",
    ),
    Setting(
        "server_metadata",
        path,
        None,
        "What the server tells all users of itself (METADATA): a line an entry, its name, a blank and its value, for "
        "example /shared/admin mailto:postmaster@example.org, /shared/comment, or /shared/filters/values/NAME with a "
        "search that all may use as FILTER NAME. Lines that begin with # are passed over. Read again on SIGHUP.",
        "FILE",
        "Mailboxes",
    ),
    Setting(
        "search_index",
        switch,
        False,
        "Keep an index of what messages say, so that SEARCH BODY and TEXT read those messages alone that may have the "
        "string: the files maildir-imapd.texts and maildir-imapd.texts.lock beside INBOX, or where INDEX= says. "
        "Answers are the same with and without. It is filled in the background, after deliveries and after the first "
        "search of a folder. The passwd-file's field userdb_search_index=yes or =no goes before this; for the first "
        "who has it there while nobody else has an index, SIGHUP is needed. See SEARCHING in maildir-imapd(8).",
        "yes|no",
        "Mailboxes",
        shown="no",
    ),
    Setting(
        "search_extract",
        extractor,
        (),
        "With search_index: a command that makes a text of attachments of this media type, from its standard input to "
        "its standard output, for example application/pdf:pdftotext - - (quoted as for a shell, which there is none). "
        "Such texts are found by SEARCH BODY and TEXT. May be given several times.",
        "TYPE/SUBTYPE:COMMAND",
        "Mailboxes",
        many=True,
    ),
    Setting(
        "cache_ahead",
        switch,
        True,
        "Work out what clients ask of messages (ENVELOPE, BODYSTRUCTURE, header fields, sort keys) before they ask, in "
        "a process beside each worker that has a lower priority: of mail that comes in, what the user's clients have "
        "asked for before; and when a client fetches, sorts or searches many messages that nobody has read yet, one "
        "half of them while it waits. What is worked out is in the file maildir-imapd.cache of each folder. Answers "
        "are the same with and without.",
        "yes|no",
        "Mailboxes",
        shown="yes",
    ),
)
