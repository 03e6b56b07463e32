"""Settings about what there is beside each user's own mail."""

from __future__ import annotations

from maildir_imapd.namespace_rules import namespace_rule
from maildir_imapd.setting.setting import Setting

SETTINGS = (
    Setting(
        "namespaces",
        namespace_rule,
        (),
        "What users see beside their own mail (NAMESPACE, RFC 2342): a prefix, its levels joined by /, and of type "
        "(others: what other users share, the prefix ending in their name, %u, %n or %n@%d; public: a spool that is "
        "nobody's; personal: another one of the user's; alias: the user's own mail under another prefix, for clients "
        "that are set to it, and not listed; deleted: what was expunged and is kept, to be read and copied, see "
        "keep_expunged), location (where that mail is, as mail_location; of others only if it is not where each "
        "has his own; commas written twice), list (whether LIST shows it: children, yes: with its root even when it is "
        "empty, no), rights (of public: what everybody may do in mailboxes without a list, for example lrs), "
        "subscriptions (own: in the user's own account; there: in the namespace's) and inbox (of others: prefix, their "
        "INBOX is shared/ann, or named, shared/ann/INBOX), for example shared/%u/: type=others. Others appear as the "
        "list of shares says, see acl_shared_list. May be given several times. See SHARING MAILBOXES in "
        "maildir-imapd(8).",
        "PREFIX:WORD=VALUE,...",
        "Sharing",
        many=True,
    ),
)
