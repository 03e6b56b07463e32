"""Several hosts, and those in front of them: whether this one takes clients."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import duration, hint_url, listen_at, mail_host, probed_at

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "spool_probe",
        probed_at,
        (),
        "Directories that a process of its own looks at every other second. While one does not answer within "
        "spool_timeout, or with an error, the server is not ready (/ready, maildir-imapd ready), and new clients hear "
        "BYE [UNAVAILABLE], by LMTP 421, so that they come to another host. A directory that is named must be there, "
        "and with spool_marker that file in or above it. auto is the part of mail_location before the first "
        "variable; where that is not there, or the mail is in homes, nothing is looked at. no: nothing ever is. May be "
        "given several times.",
        "auto|no|DIRECTORY",
        "Several hosts",
        many=True,
        shown="auto",
    ),
    Setting(
        "spool_timeout",
        duration(1, 600),
        15.0,
        "How long a look at the spool may take.",
        "TIME",
        "Several hosts",
        shown="15s",
    ),
    Setting(
        "hint_server",
        hint_url,
        None,
        "A Valkey (or Redis) server by which the hosts of a shared spool tell one another that a folder has changed, "
        "so that news are there in milliseconds, and not after poll_interval: valkey://HOST:PORT, valkeys: with TLS, "
        "unix:PATH, each with a user and password if it wants one. Only which folder is told, by a number. Nothing "
        "depends on it: a hint that is lost costs one interval. Needs the library: pip install "
        "'maildir-imapd[valkey]'. See docs/hosts.md.",
        "URL",
        "Several hosts",
    ),
    Setting(
        "hosts",
        mail_host,
        (),
        "The hosts that serve this spool, each with a name, the address and port to which what stands in front "
        "connects, and where it says whether it takes clients (metrics_listen there); without that its greeting says "
        "so. By this list auth_http_listen and auth_socket answer a login proxy to which host a user goes: of those "
        "that are healthy always to the same one, for it has his mail in memory. Each is asked every other second, by "
        "a process of its own.",
        "NAME=ADDRESS:PORT[,ready=URL]",
        "Several hosts",
        many=True,
    ),
    Setting(
        "auth_http_listen",
        listen_at,
        (),
        "Answer here whether a password is right, and to which of hosts its user goes, in the protocol of nginx's mail "
        "proxy (auth_http). Passwords come as they are: give a loopback address, an address of a network of your own, "
        "or an absolute path for a socket, with socket_mode, socket_owner and socket_group. Wrong passwords count "
        "against the address that nginx names where it connects from one of proxy_networks or by a path, else against "
        "nginx's. May be given several times.",
        "PATH|HOST:PORT",
        "Several hosts",
        many=True,
    ),
)
