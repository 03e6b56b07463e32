"""Being seen by other programs: figures by HTTP."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import listen_at, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "metrics_listen",
        listen_at,
        (),
        "Serve figures here by HTTP, for Prometheus (/metrics), and whether clients are served, for a load balancer "
        "(/health, /ready). There is no TLS and no password: whoever can connect may read, so give a loopback address, "
        "or an absolute path for a socket that is made there, with socket_mode, socket_owner and socket_group. Needs "
        "the library prometheus_client (maildir-imapd[metrics], or Debian's python3-prometheus-client). May be given "
        "several times.",
        "PATH|HOST:PORT",
        "Monitoring",
        many=True,
    ),
    Setting(
        "status_page",
        switch,
        False,
        "Serve a page for people at / of metrics_listen: figures and charts of the last hour, sessions with their "
        "users, addresses and mailboxes, and what is wrong. Whoever can connect can read it; it changes nothing.",
        "yes|no",
        "Monitoring",
        shown="no",
    ),
)
