"""Settings about what there is beside each user's own mail."""

from __future__ import annotations

from maildir_imapd.namespace_rules import namespace_rule
from maildir_imapd.setting.setting import Setting
from maildir_imapd.virtual_rules import virtual_rule

SETTINGS = (
    Setting(
        "namespaces",
        namespace_rule,
        (),
        "What users see beside their own mail (NAMESPACE, RFC 2342): a prefix, its levels joined by /, and of type "
        "(others: what other users share, the prefix ending in their name, %u, %n or %n@%d; public: a spool that is "
        "nobody's; personal: another one of the user's; alias: the user's own mail under another prefix, for "
        "clients that are set to it, and not listed; deleted: what was expunged and is kept, to be read and copied, "
        "see keep_expunged; virtual: searches as mailboxes, see virtual_mailboxes), location (where that mail is, "
        "as mail_location; of others only if it is not where each has his own; of virtual ones, if files say what "
        "there is, virtual: and a directory; commas written twice), list (whether LIST shows it: children, yes: "
        "with its root even when it is empty, no), rights (of public: what everybody may do in mailboxes without a "
        "list, for example lrs), subscriptions (own: in the user's own account; there: in the namespace's) and "
        "inbox (of others: prefix, their INBOX is shared/ann, or named, shared/ann/INBOX), private_seen (of "
        "others and public: yes, what each reader has seen is his own, and kept in his own mail; no, \\Seen is the "
        "same for all) and private_index (where Dovecot kept that, its INDEXPVT, read when a reader has nothing of "
        "his own yet; with the reader's variables, and %%u, %%n, %%d of the owner), for "
        "example shared/%u/: type=others. Others appear as the list of shares says, see acl_shared_list. May be given "
        "several times. See SHARING MAILBOXES in maildir-imapd(8).",
        "PREFIX:WORD=VALUE,...",
        "Sharing",
        many=True,
    ),
    Setting(
        "virtual_mailboxes",
        virtual_rule,
        (),
        "What users see in a namespace of type=virtual that has no location: a name, mailboxes or patterns of them (* "
        "and % as in LIST, of one namespace each; - before those that are left out, -\\Trash for what has that special "
        "use; ! before the one that takes what is put into the virtual mailbox), a search as SEARCH has it, and use= "
        "with a special use (All, Flagged, Archive, Important), for example Unread: *, -\\Trash | UNSEEN. Messages are "
        "read, flagged, moved and removed where they lie. Levels of names are joined by /. Without this setting there "
        "are All mail, Flagged and Unread, each without Trash and Junk. May be given several times. See VIRTUAL "
        "MAILBOXES in maildir-imapd(8).",
        "NAME:PATTERN,...|SEARCH|use=USE",
        "Sharing",
        many=True,
        shown="All mail, Flagged and Unread",
    ),
)
