"""Sockets at which other programs of the machine ask: Postfix and Exim."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import asked_at, mode, text

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "auth_socket",
        asked_at,
        (),
        "Answer here whether a password is right, in the protocol of Dovecot's auth: Postfix asks so (smtpd_sasl_type "
        "= dovecot, smtpd_sasl_path = private/auth), and Exim (driver = dovecot). An absolute path is a socket that is "
        "made there; HOST:PORT may be a loopback address only, where every user of the machine can ask. May be given "
        "several times.",
        "PATH|HOST:PORT",
        "Questions of other servers",
        many=True,
    ),
    Setting(
        "lookup_socket",
        asked_at,
        (),
        "Answer here whether there is a user, as a table of Postfix's type socketmap: virtual_mailbox_maps or "
        "local_recipient_maps = socketmap:unix:private/users:users. Path or address as of auth_socket; who may connect "
        "can find out which users there are. May be given several times.",
        "PATH|HOST:PORT",
        "Questions of other servers",
        many=True,
    ),
    Setting(
        "policy_socket",
        asked_at,
        (),
        "Answer here, as a policy service of Postfix's, whether a recipient's quota has room for a message: "
        "check_policy_service unix:private/quota in smtpd_recipient_restrictions refuses it with 552 before it is "
        "sent. Recipients who are not known, and those whose quota cannot be known just now, are left to the other "
        "restrictions. Path or address as of auth_socket. May be given several times.",
        "PATH|HOST:PORT",
        "Questions of other servers",
        many=True,
    ),
    Setting(
        "socket_mode",
        mode,
        0o660,
        "The mode of sockets that are made for other programs, in octal digits.",
        "MODE",
        "Questions of other servers",
        shown="0660",
    ),
    Setting(
        "socket_owner",
        text,
        None,
        "The owner of these sockets, a user of the system.",
        "USER",
        "Questions of other servers",
        shown="who starts the server",
    ),
    Setting(
        "socket_group",
        text,
        None,
        "Their group; for Postfix: postfix.",
        "GROUP",
        "Questions of other servers",
        shown="the group of who starts the server",
    ),
)
