"""The door: proxies and webmail in front, and whom they may speak for."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import address, network

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "imap_proxy",
        address,
        (),
        "As imap, for connections by way of a proxy (HAProxy, nginx, a load balancer) that says by the PROXY protocol, "
        "version 1 or 2, who the client is. The proxy hands TLS on as it comes. May be given several times.",
        "HOST:PORT",
        "Proxies and webmail",
        many=True,
    ),
    Setting(
        "imaps_proxy",
        address,
        (),
        "As imaps, for connections by way of such a proxy: what it says comes before TLS. May be given several times.",
        "HOST:PORT",
        "Proxies and webmail",
        many=True,
    ),
    Setting(
        "proxy_networks",
        network,
        (),
        "Addresses of the proxies that may connect to imap_proxy and imaps_proxy. Others are sent away, and so is a "
        "proxy that does not say within five seconds for whom it comes. The client's own address then stands in the "
        "log, and counts for limits, delays and allow_nets.",
        "NETWORK",
        "Proxies and webmail",
        many=True,
    ),
    Setting(
        "login_trusted_networks",
        network,
        (),
        "Addresses of webmail, as in Dovecot: it may say by ID (x-originating-ip, x-originating-port) for whom it logs "
        "in, whose address then takes the place of its own; it may send passwords without TLS, whatever "
        "plaintext_login says; and while it does not say for whom it comes, wrong passwords are not counted against "
        "its address. A proxy of imap_proxy that has such an address, as nginx's mail proxy, may hand on passwords "
        "without TLS as well.",
        "NETWORK",
        "Proxies and webmail",
        many=True,
    ),
)
