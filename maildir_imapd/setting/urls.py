"""Settings of URLs that let others read a message (URLAUTH)."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import text, url_host

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "urlauth_host",
        url_host,
        (),
        "A name by which URLs mean this server, as clients write it in imap://ann@mail.example.org/, with its port "
        "where that is not 143; * is any. With at least one, users may let others read a message by a URL (URLAUTH): "
        "a submission server that forwards it without a download, another user, or, where there is an "
        "auth_anonymous_user, anybody. May be given several times.",
        "HOST[:PORT]",
        "Sharing",
        many=True,
        shown="none: no URL lets anybody read",
    ),
    Setting(
        "urlauth_submit_user",
        text,
        (),
        "A user who is a submission server: it logs in under this name, and reads what URLs for submit+USER name. It "
        "has to make sure itself that USER is who submits. May be given several times.",
        "NAME",
        "Sharing",
        many=True,
    ),
)
