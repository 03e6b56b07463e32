"""LANGUAGE: which language the texts for people are in (RFC 5255 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maildir_imapd.errors import Refused
from maildir_imapd.imap.languages import choose
from maildir_imapd.imap.mailboxes.list import namespaces
from maildir_imapd.imap.registry import ANY, command
from maildir_imapd.imap.reply import Done
from maildir_imapd.imap.session import State
from maildir_imapd.phrases import TAGS
from maildir_imapd.wire.render import language_line

if TYPE_CHECKING:
    from maildir_imapd.imap.reply import Reply
    from maildir_imapd.imap.session import Session
    from maildir_imapd.wire.commands import Language


@command(b"LANGUAGE", states=ANY, announces=[b"LANGUAGE"])
def language(session: Session, cmd: Language, reply: Reply) -> Done:
    """Choose the language of texts (RFC 5255 3.2): the change holds from the LANGUAGE response on.

    The namespaces are told again when their translations have changed.
    """
    if not cmd.ranges:
        reply.write(language_line([tag.encode() for tag in TAGS]))
        return Done("These languages can be chosen")
    chosen = choose([wanted.decode("ascii") for wanted in cmd.ranges], session.policy.language)
    if chosen is None:
        raise Refused("No such language is spoken here")
    logged_in = session.state is not State.NOT_AUTHENTICATED
    before = namespaces(session) if logged_in else b""
    session.language = chosen
    reply.write(language_line([chosen.tag.encode()]))
    if logged_in and (now := namespaces(session)) != before:
        reply.write(now)
    return Done("The language has been changed")
