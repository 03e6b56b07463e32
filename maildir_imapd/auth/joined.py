"""One back end that checks and others that know who the user is, as one: passdb and userdb of other servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from maildir_imapd.auth.around import Around
from maildir_imapd.auth.base import Authenticator, Credential, Identity, Registered, UserSource
from maildir_imapd.errors import AuthenticationFailed
from maildir_imapd.events import Log

log = Log(__name__)


class Joined(Around):
    """An Authenticator of *checks* and of *sources*, which are asked in their order: the first that knows him decides.

    What *checks* says of a user goes before what a source says.  Whom no source knows is nobody.
    """

    at_hand = False
    """As of ``Chain.at_hand``: what a source says may be another program's."""

    def __init__(self, checks: Authenticator, sources: Sequence[UserSource]) -> None:
        super().__init__(checks)
        self._sources = tuple(sources)

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``."""
        found = self.inner.look_up(user)
        if found is None:
            return None
        known = self._known(found.identity.user)
        if known is None:
            return None
        may_log_in = found.may_log_in and known.may_log_in
        return Registered(merged(found.identity, known.identity), (found.version, known.version), may_log_in)

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``."""
        identity = self.inner.check(credential)
        known = self._known(identity.user)
        if known is None:
            log.warning("no back end of userdb knows the user", user=identity.user, checked_by=self.name)
            raise AuthenticationFailed(detail="not-in-userdb")
        if not known.may_log_in:
            raise AuthenticationFailed(detail="locked-in-userdb")
        return merged(identity, known.identity)

    def _known(self, user: str) -> Registered | None:
        for source in self._sources:
            known = source.look_up(user)
            if known is not None:
                return known
        return None

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``: of the back end that checks, or where it has no list, of the others."""
        listed = list(self.inner.users())
        return listed or [name for source in self._sources for name in source.users()]


def merged(first: Identity, second: Identity) -> Identity:
    """Fill in what *first* does not say of a user by what *second* does; uid and gid are one thing.

    Where both mean one name *second* says how it is spelled: who only checks takes it as it comes.
    """
    uid, gid = (first.uid, first.gid) if first.uid is not None else (second.uid, second.gid)
    return replace(
        first,
        user=second.user if second.user.casefold() == first.user.casefold() else first.user,
        home=first.home if first.home is not None else second.home,
        uid=uid,
        gid=gid if first.gid is None else first.gid,
        mail=first.mail if first.mail is not None else second.mail,
        groups=first.groups or second.groups,
        quota=first.quota if first.quota is not None else second.quota,
        quota_exceptions=first.quota_exceptions or second.quota_exceptions,
        nets=first.nets if first.nets is not None else second.nets,
        mailboxes=first.mailboxes if first.mailboxes is not None else second.mailboxes,
        keep_expunged=first.keep_expunged if first.keep_expunged is not None else second.keep_expunged,
        private_seen=first.private_seen if first.private_seen is not None else second.private_seen,
        search_index=first.search_index if first.search_index is not None else second.search_index,
        connections=first.connections if first.connections is not None else second.connections,
    )
