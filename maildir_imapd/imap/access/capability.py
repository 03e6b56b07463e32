"""What is announced, and when: a capability stands here once it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.auth import mechanisms
from maildir_imapd.imap.registry import ANY, Done, State, command
from maildir_imapd.wire.render import capability_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Capability

ALWAYS = (b"IMAP4rev1", b"IMAP4rev2", b"LITERAL+", b"SASL-IR", b"ID", b"LANGUAGE")
BEFORE_TLS = (b"STARTTLS",)
AFTER_LOGIN = (
    b"IDLE",
    b"NAMESPACE",
    b"UIDPLUS",
    b"UNSELECT",
    b"CHILDREN",
    b"MOVE",
    b"ENABLE",
    b"CONDSTORE",
    b"QRESYNC",
    b"ESEARCH",
    b"SEARCHRES",
    b"WITHIN",
    b"SEARCH=FUZZY",
    b"PARTIAL",
    b"MULTISEARCH",
    b"SORT",
    b"SORT=DISPLAY",
    b"ESORT",
    b"CONTEXT=SEARCH",
    b"CONTEXT=SORT",
    b"NOTIFY",
    b"THREAD=ORDEREDSUBJECT",
    b"THREAD=REFERENCES",
    b"THREAD=REFS",
    b"LIST-EXTENDED",
    b"LIST-STATUS",
    b"SPECIAL-USE",
    b"CREATE-SPECIAL-USE",
    b"STATUS=SIZE",
    b"MULTIAPPEND",
    b"CATENATE",
    b"REPLACE",
    b"BINARY",
    b"I18NLEVEL=2",
    b"SAVEDATE",
    b"PREVIEW",
    b"OBJECTID",
    b"METADATA",
    b"FILTERS",
    b"QUOTA",
    b"QUOTA=RES-STORAGE",
    b"QUOTA=RES-MESSAGE",
    b"QUOTA=RES-MAILBOX",
    b"INPROGRESS",
)
WITH_ACL = (b"ACL", b"RIGHTS=texk", b"LIST-MYRIGHTS")


def capabilities(session: Session) -> list[bytes]:
    """Render the list for the state the session is in (RFC 3501 6.1.1, 7.2.1).

    Before login only what matters there: the list is part of every greeting.
    """
    names = list(ALWAYS)
    if session.state is State.NOT_AUTHENTICATED:
        if session.may_start_tls:
            names += BEFORE_TLS
        if not session.may_log_in:
            names.append(b"LOGINDISABLED")
        names += [b"AUTH=" + mechanism for mechanism in mechanisms.offered(private=session.may_log_in)]
    else:
        names += AFTER_LOGIN
        if session.policy.acl:
            names += WITH_ACL
        if session.may_set_quota:
            names.append(b"QUOTASET")
        names.append(b"APPENDLIMIT=%d" % session.policy.append_limit)
        if session.policy.utf8 != "no":
            names.append(b"UTF8=ACCEPT")
        if session.may_leave:
            names.append(b"UNAUTHENTICATE")
        if session.policy.compress and not session.compressed:
            names.append(b"COMPRESS=DEFLATE")
    return names


def capability_code(session: Session) -> bytes:
    """The list as a response code, for the greeting and the tagged OK of a login (RFC 3501 7.1)."""
    return b"CAPABILITY " + b" ".join(capabilities(session))


@command(b"CAPABILITY", states=ANY)
def capability(session: Session, cmd: Capability, reply: Reply) -> Done:
    """RFC 3501 6.1.1."""
    reply.write(capability_line(capabilities(session)))
    return Done("Capability completed")
