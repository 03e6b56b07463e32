"""Mail that comes in: where LMTP is spoken, and how messages are put."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, delimiters, hook, listen_at, network, number, size, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "lmtp_listen",
        listen_at,
        (),
        "Take mail here by LMTP (RFC 2033): virtual_transport = lmtp:unix:private/maildir-lmtp of Postfix's. An "
        "absolute path is a socket that is made there, with socket_mode, socket_owner and socket_group; at HOST:PORT "
        "only lmtp_networks are listened to. Whoever may connect puts mail into every mailbox. May be given several "
        "times.",
        "PATH|HOST:PORT",
        "Delivery",
        many=True,
    ),
    Setting(
        "lmtp_networks",
        network,
        (),
        "From where mail is taken by LMTP over TCP: addresses or networks of mail servers. There is no TLS and no "
        "password on that way. May be given several times.",
        "NETWORK",
        "Delivery",
        many=True,
        shown="the loopback addresses",
    ),
    Setting(
        "lmtp_recipients",
        number(1, 10_000),
        100,
        "Recipients of one message that LMTP takes; those beyond are refused with 452, and the sender tries again.",
        "N",
        "Delivery",
    ),
    Setting(
        "delivery_limit",
        size(1 << 10, 1 << 40),
        100 << 20,
        "The largest message that is delivered.",
        "SIZE",
        "Delivery",
        shown="100M",
    ),
    Setting(
        "delivery_over_quota",
        choice("reject", "defer"),
        "reject",
        "What the sender of a message is told for which there is no room within the quota: that it comes back (552 "
        "5.2.2) or that it is to be tried again (452 4.2.2).",
        "reject|defer",
        "Delivery",
    ),
    Setting(
        "recipient_delimiter",
        delimiters,
        "+",
        "Characters that part a user's name from what he makes of his address, as in Postfix: mail to ann+lists is "
        "Ann's, and goes to her folder lists if there is one. Empty: none does.",
        "CHARACTERS",
        "Delivery",
    ),
    Setting(
        "attachment_keywords",
        switch,
        False,
        "Give each message that comes in, by LMTP, deliver or APPEND, the keyword $HasAttachment or $HasNoAttachment, "
        "for mail programs that show it in a list. Mail that is there already, or that another program puts into the "
        "folder, has neither.",
        "yes|no",
        "Delivery",
        shown="no",
    ),
    Setting(
        "hook_moved",
        hook,
        (),
        "Run a command for each message that a client puts into this folder, or copies or moves out of it: to have a "
        "filter learn what is junk. It gets the message on standard input, and in its environment MAILDIR_IMAPD_USER, "
        "_COMMAND (APPEND, COPY or MOVE), _FROM, _TO, _UID and _FLAGS. It is run as the owner of the mail, without a "
        "shell, one at a time of each worker, for a minute at most; nobody waits for it. May be given several times.",
        "FOLDER:COMMAND",
        "Delivery",
        many=True,
    ),
)
