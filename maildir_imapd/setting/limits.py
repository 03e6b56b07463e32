"""Limits: how much there may be of anything, and for how long."""

from __future__ import annotations

from maildir_imapd.quota_values import SizeOrPercent, group_quota, quota_exception, quota_warning, size_or_percent
from maildir_imapd.setting.setting import Setting
from maildir_imapd.values import MOST, duration, number, size, switch

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "append_limit",
        size(1 << 10, 1 << 40),
        100 << 20,
        "The largest message that APPEND takes.",
        "SIZE",
        "Limits",
        shown="100M",
    ),
    Setting(
        "message_limit",
        number(1000, MOST),
        None,
        "How many messages one command may be about (RFC 9738): FETCH, STORE, MOVE, SEARCH and UID EXPUNGE do so many "
        "from the newest on and say where they stopped; COPY, APPEND, SORT and THREAD of more are refused. Clients "
        "that do not know of it see only the newest messages of a larger mailbox.",
        "N",
        "Limits",
    ),
    Setting(
        "save_limit",
        number(1000, MOST),
        None,
        "The same for COPY and APPEND alone, where message_limit is not set.",
        "N",
        "Limits",
    ),
    Setting(
        "quota_storage",
        size(1, MOST),
        None,
        "What all mailboxes of a user may take up on the disk. What is said of one user goes before this and the next "
        "two (the passwd-file's fields userdb_quota_rule=*:storage=1G:messages=1000, or userdb_quota_storage=1G, "
        "_quota_messages and _quota_mailboxes), and so does what is said of his groups (quota_groups). Where nothing "
        "says how much, the first line of the file maildirsize in the spool decides.",
        "SIZE",
        "Limits",
    ),
    Setting(
        "quota_messages", number(1, MOST), None, "How many messages a user may have in all mailboxes.", "N", "Limits"
    ),
    Setting(
        "quota_mailboxes",
        number(1, MOST),
        None,
        "How many mailboxes a user may have, INBOX and the parents of others counted. CREATE and RENAME keep to it.",
        "N",
        "Limits",
    ),
    Setting(
        "quota_groups",
        group_quota,
        (),
        "What the users of a group may keep, by the groups of the user database (acl_groups): staff: storage=10G, "
        "messages=200000, mailboxes=500, of which any may lack, and 0 is no limit. Whoever is in several gets the most "
        "of each. May be given several times.",
        "GROUP:WORD=VALUE,...",
        "Limits",
        many=True,
    ),
    Setting(
        "quota_exceptions",
        quota_exception,
        (),
        "Mailboxes that the quota treats otherwise: Trash: ignore does not count, and takes everything; in Trash: "
        "storage=+100M, messages=+10% there is so much more room than in others. NAME/* is all mailboxes below that "
        "one; names are those without the prefix of all, their levels joined by /. The fields userdb_quota_rule2 to "
        "userdb_quota_rule9 (Trash:storage=+100M, Trash:ignore) go before this. May be given several times.",
        "NAME:ignore|WORD=+VALUE,...",
        "Limits",
        many=True,
    ),
    Setting(
        "quota_grace",
        size_or_percent,
        SizeOrPercent(percent=10),
        "By so much the last message that is delivered (LMTP, deliver) may go beyond the limit of storage of whoever "
        "is below it: a size, or a part of the limit. For APPEND and COPY there is no grace. 0: none for anybody.",
        "SIZE|PERCENT%",
        "Limits",
        shown="10%",
    ),
    Setting(
        "quota_warnings",
        quota_warning,
        (),
        "Run a command when so many percent of the limit of storage or of messages are reached (80, 95), or, with "
        "under before it, no longer used (under 80). Of several that are crossed at once the highest is run, or the "
        "lowest one under. Its words may have %u, %n and %d in them, and its environment has MAILDIR_IMAPD_USER, "
        "_PERCENT, _RESOURCE (storage or messages), _USED and _LIMIT (octets or messages). It is run as hook_moved is. "
        "May be given several times. See QUOTAS in maildir-imapd(8).",
        "[under ]PERCENT:COMMAND",
        "Limits",
        many=True,
    ),
    Setting(
        "quota_set",
        switch,
        False,
        "Let clients change the limits in the first line of maildirsize (SETQUOTA), for users to whom neither the "
        "settings nor the passwd-file give any: a limit of the administrator's is never theirs to change.",
        "yes|no",
        "Limits",
        shown="no",
    ),
    Setting(
        "login_timeout",
        duration(1, 3600),
        180.0,
        "A client that has not logged in after this time is sent away, however busy it is.",
        "TIME",
        "Limits",
        shown="3m",
    ),
    Setting(
        "idle_timeout",
        duration(1800, 86400 * 7),
        1800.0,
        "Autologout after this much silence. RFC 3501 asks for 30 minutes at least.",
        "TIME",
        "Limits",
        shown="30m",
    ),
    Setting(
        "idle_keepalive",
        duration(0, 86400),
        120.0,
        "A client in IDLE is told OK after this much silence, so that no router on the way forgets the connection. "
        "0: never.",
        "TIME",
        "Limits",
        shown="2m",
    ),
    Setting(
        "line_limit",
        size(1 << 10, 1 << 30),
        1 << 20,
        "The longest command line after login.",
        "SIZE",
        "Limits",
        shown="1M",
    ),
    Setting(
        "literal_limit",
        size(1 << 10, 1 << 30),
        64 << 10,
        "The largest literal after login, messages in APPEND apart.",
        "SIZE",
        "Limits",
        shown="64K",
    ),
    Setting(
        "connections_per_address",
        number(1, 1_000_000),
        100,
        "Connections one address (of IPv6 a /64) may have in one worker that have not logged in; for a further one the "
        "longest of them is sent away.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_per_user",
        number(0, 1_000_000),
        50,
        "Connections of one user in all workers; 0: any.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_per_user_and_address",
        number(0, 1_000_000),
        0,
        "Connections of one user from one address, in all workers; 0: any that connections_per_user leaves him.",
        "N",
        "Limits",
    ),
    Setting(
        "connections",
        number(1, 1_000_000),
        10_000,
        "Connections of one worker. For a further one the longest that has not logged in is sent away; where all have, "
        "it is told to come back.",
        "N",
        "Limits",
    ),
    Setting(
        "connections_before_login",
        number(1, 1_000_000),
        1000,
        "Connections of one worker that have not logged in. For a further one the longest of them is sent away.",
        "N",
        "Limits",
    ),
    Setting(
        "memory_limit",
        size(64 << 20, MOST),
        None,
        "Memory that one worker or tunnel may have of its own (RLIMIT_DATA), the stacks of its threads counted, half a "
        "MiB each. A command that needs more is refused. Half of it is for large messages that must be had whole: "
        "decoded parts, what lies compressed, what is put together by CATENATE. A command that finds no room there "
        "waits 20 seconds for others to be done, and is then answered NO [LIMIT]. Without a limit a worker takes a "
        "quarter of the machine's memory, or of its control group's, divided by the number of workers, for such "
        "messages, and as much as it needs for all else.",
        "SIZE",
        "Limits",
    ),
)
