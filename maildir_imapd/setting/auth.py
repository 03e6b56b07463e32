"""Back ends that say who may log in: which are asked, in which order, and how."""

from __future__ import annotations

from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import choice, duration, name_form, number, path, separator, text, upper_choice

# The back ends that can check a password, and those that can say who a user is.
CHECKING = ("passwd-file", "oauth")
KNOWING = ("passwd-file",)
MECHANISMS = (
    "SCRAM-SHA-256-PLUS",
    "SCRAM-SHA-1-PLUS",
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "OAUTHBEARER",
    "XOAUTH2",
    "EXTERNAL",
    "PLAIN",
    "LOGIN",
    "CRAM-MD5",
    "ANONYMOUS",
)

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "auth",
        choice(*CHECKING),
        (),
        f"Who checks passwords, in the order in which they are asked: {', '.join(CHECKING)}. The first that knows the "
        "user decides; when one cannot be asked, those behind it are not, and the login is answered NO [UNAVAILABLE].",
        "NAME",
        "Logins",
        many=True,
        shown="passwd-file",
    ),
    Setting(
        "userdb",
        choice(*KNOWING),
        (),
        f"Who is asked for home, uid, gid, mail and limits of a user: {', '.join(KNOWING)}. The first that knows the "
        "user decides, and whom none knows cannot log in; what the back end that checked has said goes before it.",
        "NAME",
        "Logins",
        many=True,
        shown="the back end that checked the password",
    ),
    Setting(
        "auth_mechanisms",
        upper_choice(*MECHANISMS),
        (),
        f"The SASL mechanisms by which clients may log in: {', '.join(MECHANISMS)}. What cannot succeed here is not "
        "announced, named or not; CRAM-MD5 and ANONYMOUS are only where they are named, "
        "and none is before TLS where plaintext_login does not allow passwords. The command "
        "LOGIN is there even so.",
        "NAME",
        "Logins",
        many=True,
        shown="all that are of use to every user",
    ),
    Setting(
        "auth_anonymous_user",
        text,
        None,
        "The user that anybody may be, where auth_mechanisms names ANONYMOUS: he may read and change nothing.",
        "NAME",
        "Logins",
    ),
    Setting(
        "auth_master_file",
        path,
        None,
        "Those who may act for other users, in passwd-file format: as USER*MASTER with the master's password, or by an "
        "authorization identity. The extra field acts_for says for whom (acts_for=*@example.org), without it for "
        "everybody. Nobody can act for one who could not log in himself from where he is.",
        "FILE",
        "Logins",
    ),
    Setting(
        "auth_master_separator",
        separator,
        "*",
        "What stands between the user and the master in a name, where there is an auth_master_file.",
        "CHARACTER",
        "Logins",
    ),
    Setting(
        "auth_device_file",
        path,
        None,
        "Passwords of users' devices, beside the users' own: written by maildir-imapd user device, read again when it "
        "changes. They are for LOGIN and PLAIN, of users whom the passwd-file has.",
        "FILE",
        "Logins",
    ),
    Setting(
        "auth_device_used_file",
        path,
        None,
        "Where workers note when each device was used last, once a minute at most, from which address and by which "
        "program. They must be able to write it; its directory had better be its own.",
        "FILE",
        "Logins",
    ),
    Setting(
        "auth_timeout",
        duration(1, 120),
        10.0,
        "The most that a back end is waited for, in all; then the login is answered NO [UNAVAILABLE].",
        "TIME",
        "Logins",
        shown="10s",
    ),
    Setting(
        "auth_connections",
        number(1, 1000),
        5,
        "How many questions each worker asks one back end at the same time; the others wait, for no longer than "
        "auth_timeout.",
        "NUMBER",
        "Logins",
    ),
    Setting(
        "auth_cache_time",
        duration(0, 86400),
        300.0,
        "How long a password that was right is remembered (as a keyed digest, in memory), so that a client "
        "with many connections does not pay for the slow hash each time. 0 switches it off.",
        "TIME",
        "Logins",
        shown="5m",
    ),
    Setting(
        "auth_failure_delay",
        duration(0, 60),
        2.0,
        "Time from a wrong password to its answer; doubled at each further one of the connection, and as failures of "
        "all connections from that address, from its /64 or for that user mount up; a minute at most.",
        "TIME",
        "Logins",
        shown="2s",
    ),
    Setting(
        "auth_cache_negative_time",
        duration(0, 3600),
        5.0,
        "How long it is remembered that a back end does not know a user. What it has said of one whom it knows holds "
        "for auth_cache_time, or until that user's next password is checked. Files are looked at each time.",
        "TIME",
        "Logins",
        shown="5s",
    ),
    Setting(
        "auth_default_realm",
        text,
        None,
        "The domain that is put behind a user name that has none, before anybody is asked.",
        "DOMAIN",
        "Logins",
    ),
    Setting(
        "auth_username_format",
        name_form,
        None,
        "How user names are spelled before anybody is asked, as in Dovecot: %u as clients write them, %Lu in small "
        "letters, %n or %Ln without the domain. Without it a name is tried as it is written, then in small letters.",
        "FORM",
        "Logins",
    ),
)
