"""Several hosts, and those in front of them: whether this one takes clients."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import duration, probed_at

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
)
