"""The back end over an LDAP directory: an entry is searched for, and bound as with the password that the client shows.

Values of a client's are escaped by the library, in a filter and in a DN alike.  Searches and binds go by connections of
their own, for a bind makes a connection somebody else's.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from maildir_imapd.auth import fields
from maildir_imapd.auth.base import Credential, External, Identity, Password, Registered
from maildir_imapd.auth.names import filled, valid_user
from maildir_imapd.auth.waiting import LineBroken, Pool, Until
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

_PAGE: Final = 500
# Where directories keep that somebody is locked out, whom a bind would not let in: OpenLDAP's policies, 389's, and
# Active Directory's, a number of which this bit is one.
_LOCKED_SINCE: Final = "pwdAccountLockedTime"
_LOCKED: Final = "nsAccountLock"
_CONTROL: Final = "userAccountControl"
_DISABLED: Final = 2


def demand_library() -> None:
    """Raise ConfigError where the library is not installed; loads it as long as everything can be read."""
    try:
        import ldap
        import ldap.controls.libldap
        import ldap.dn
        import ldap.filter  # noqa: F401
    except ImportError as error:
        raise ConfigError("LDAP needs the library python-ldap: install maildir-imapd[ldap]") from error


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a directory is, and as whom it is searched; None: as nobody."""

    uris: Sequence[str]
    starttls: bool = False
    ca: str | None = None
    bind_dn: str | None = None
    bind_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class DirectorySearch:
    """How users are found: base and filter are templates; *said*: attribute, field, and the text around its value."""

    base: str
    filter: str
    name: str
    said: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class _Found:
    """An entry."""

    dn: str
    attributes: Mapping[str, list[bytes]]


class _Connection:
    """A connection to the first server that answers; bound as who searches, or as nobody yet.  Raises LineBroken."""

    def __init__(self, where: Directory, until: Until, *, searching: bool) -> None:
        import ldap

        # Each server has its part of the time, or the second would have none.
        part = until.left / len(where.uris)
        uris = [uri for uri in where.uris if not uri.startswith("ldaps:") or _answers(uri, part)]
        if not uris:
            raise LineBroken("no server answers")
        self._open = ldap.initialize(" ".join(uris))
        self._within(until)
        self._open.set_option(ldap.OPT_NETWORK_TIMEOUT, part)
        self._open.set_option(ldap.OPT_REFERRALS, 0)
        self._open.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        if where.ca is not None:
            self._open.set_option(ldap.OPT_X_TLS_CACERTFILE, where.ca)
        self._open.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        try:
            if where.starttls:
                self._open.start_tls_s()
            if searching and where.bind_dn is not None:
                self._open.simple_bind_s(where.bind_dn, where.bind_password or "")
        except ldap.LDAPError as error:
            self.close()
            raise LineBroken(_plain(error)) from error

    def _within(self, until: Until) -> None:
        import ldap

        self._open.timeout = until.left
        self._open.set_option(ldap.OPT_TIMEOUT, until.left)

    def search(self, base: str, written: str, attributes: list[str], until: Until) -> list[_Found]:
        """Return the entries, up to two; raises LineBroken, ConfigError."""
        import ldap

        self._within(until)
        try:
            found = self._open.search_ext_s(
                base, ldap.SCOPE_SUBTREE, written, attributes, timeout=until.left, sizelimit=2
            )
        except (ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX):
            return []  # a base with the user's domain in it
        except ldap.SIZELIMIT_EXCEEDED:
            return [_Found("", {})] * 3
        except ldap.LDAPError as error:
            raise _sorted(error) from error
        # One without a DN is a referral.
        return [_Found(dn, values) for dn, values in found if dn is not None]

    def names(self, base: str, written: str, attribute: str, until: Until) -> list[bytes]:
        """Return the first value of *attribute* of all entries, page by page; raises LineBroken, ConfigError."""
        import ldap
        from ldap.controls.libldap import SimplePagedResultsControl

        found: list[bytes] = []
        page = SimplePagedResultsControl(True, size=_PAGE, cookie="")
        self._within(until)
        try:
            while True:
                number = self._open.search_ext(base, ldap.SCOPE_SUBTREE, written, [attribute], serverctrls=[page])
                _, entries, _, controls = self._open.result3(number, timeout=until.left)
                found += [_of(values, attribute)[0] for dn, values in entries if dn and _of(values, attribute)]
                cookies = [each.cookie for each in controls if each.controlType == page.controlType]
                if not cookies or not cookies[0]:
                    return found
                page.cookie = cookies[0]
        except ldap.LDAPError as error:
            raise _sorted(error) from error

    def bind(self, dn: str, password: bytes, until: Until) -> str | None:
        """Return None for a password that is right, or why it is not, for the log; raises LineBroken, ConfigError."""
        import ldap

        self._within(until)
        try:
            self._open.simple_bind_s(dn, password)
        except (ldap.INVALID_CREDENTIALS, ldap.NO_SUCH_OBJECT, ldap.INVALID_DN_SYNTAX):
            return ""
        except (ldap.INAPPROPRIATE_AUTH, ldap.CONSTRAINT_VIOLATION, ldap.INSUFFICIENT_ACCESS) as error:
            return _plain(error).lower().replace(" ", "-")
        except ldap.LDAPError as error:
            raise _sorted(error) from error
        return None

    def close(self) -> None:
        """As ``BackEndLine.close``."""
        import ldap

        try:
            self._open.unbind_ext_s()
        except ldap.LDAPError:
            pass  # it was not open any more


def _answers(uri: str, seconds: float) -> bool:
    """Say whether a server of ldaps:// answers at all: the library has no limit of time for that, and would hang.

    Whose certificate it is, is not looked at here: nothing is said to it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    place = urlsplit(uri)
    try:
        with socket.create_connection((place.hostname or "localhost", place.port or 636), timeout=seconds) as sock:
            context.wrap_socket(sock).close()
    except OSError:
        return False
    return True


class Ldap:
    """The back end over a directory.  Safe from any thread."""

    takes = (Password, External)
    name = "ldap"

    def __init__(self, where: Directory, search: DirectorySearch, *, most: int, seconds: float) -> None:
        self._search = search
        self._searching = Pool(
            self.name, lambda until: _Connection(where, until, searching=True), most=most, seconds=seconds
        )
        self._binding = Pool(
            self.name, lambda until: _Connection(where, until, searching=False), most=most, seconds=seconds
        )

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; the name is the directory's own spelling of it."""
        found = self._find(user)
        if found is None:
            return None
        return Registered(self._identity(user, found), may_log_in=self._may_log_in(found))

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``.  A bind without a password would be right for anybody, so none is made."""
        if isinstance(credential, External):
            known = self.look_up(credential.user)
            if known is None or not known.may_log_in:
                raise AuthenticationFailed
            return known.identity
        if not isinstance(credential, Password) or not credential.password:
            raise AuthenticationFailed
        user, password = credential.user, credential.password
        found = self._find(user)
        # A stranger costs a question, too.
        dn = found.dn if found is not None else f"cn={os.urandom(8).hex()},{filled(self._search.base, '')}"
        try:
            why = self._binding.ask(lambda connection, until: connection.bind(dn, password, until))
        except ConfigError as error:
            raise self._unavailable(error) from error
        if found is None or why is not None:
            raise AuthenticationFailed(detail=why or "")
        if not fields.may_log_in(self._fields(found)):
            raise AuthenticationFailed
        return self._identity(user, found)

    def _find(self, user: str) -> _Found | None:
        """Search for the one entry of a user; raises Unavailable, also where there are several."""
        from ldap.dn import escape_dn_chars
        from ldap.filter import escape_filter_chars

        if not valid_user(user):
            return None
        search = self._search
        base, written = filled(search.base, user, escape_dn_chars), filled(search.filter, user, escape_filter_chars)
        wanted = [search.name, *(attribute for attribute, _, _ in search.said), _LOCKED_SINCE, _LOCKED, _CONTROL]
        attributes = list(dict.fromkeys(wanted))
        try:
            found = self._searching.ask(lambda connection, until: connection.search(base, written, attributes, until))
        except ConfigError as error:
            raise self._unavailable(error) from error
        if len(found) > 1:
            log.error("more than one entry for a user", user=user)
            raise Unavailable(detail="ldap: more than one entry")
        return found[0] if found else None

    def _may_log_in(self, found: _Found) -> bool:
        """Whether nothing that can be seen in the entry locks the user out; of a password the directory says it."""
        control = [value for value in _of(found.attributes, _CONTROL) if value.isdigit() and len(value) < 12]
        return (
            fields.may_log_in(self._fields(found))
            and not _of(found.attributes, _LOCKED_SINCE)
            and not any(value.lower() == b"true" for value in _of(found.attributes, _LOCKED))
            and not any(int(value) & _DISABLED for value in control)
        )

    def _fields(self, found: _Found) -> dict[str, str]:
        said = {}
        for attribute, name, around in self._search.said:
            values = _of(found.attributes, attribute)
            if values and values[0]:
                said[name] = around.replace("%$", values[0].decode("utf-8", "surrogateescape"))
        return said

    def _identity(self, user: str, found: _Found) -> Identity:
        names = [value.decode("utf-8", "replace") for value in _of(found.attributes, self._search.name)]
        # The one that was meant, where there are several; without any, small letters, for "Ann" is found as well.
        meant = [name for name in names if name.casefold() == user.casefold()]
        name = (meant or names or [user.lower()])[0]
        try:
            if not valid_user(name):
                raise ValueError("its name cannot be a user's")
            return fields.identity(name, self._fields(found))
        except ValueError as error:
            log.error("what the directory says cannot be used", user=user, dn=found.dn, why=error)
            raise Unavailable(detail=f"ldap: {error}") from error

    def _unavailable(self, error: ConfigError) -> Unavailable:
        log.error("the directory does not take a question", why=error.text)
        return Unavailable(detail=f"ldap: {error.text}")

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``: whoever the filter finds with ``*`` for the name."""
        search = self._search
        if filled(search.base, "u@d") != filled(search.base, ""):
            return []  # below which entries there are users nobody says
        written = filled(search.filter, "*", lambda value: "*")
        try:
            found = self._searching.ask(
                lambda connection, until: connection.names(filled(search.base, ""), written, search.name, until)
            )
        except ConfigError as error:
            raise self._unavailable(error) from error
        return list(_valid(found))


def _valid(names: Iterable[bytes]) -> Iterator[str]:
    for name in names:
        text = name.decode("utf-8", "replace")
        if valid_user(text):
            yield text


def _of(attributes: Mapping[str, list[bytes]], name: str) -> list[bytes]:
    """The values of an attribute, however the server spells its name."""
    return next((values for key, values in attributes.items() if key.lower() == name.lower()), [])


def _sorted(error: Exception) -> Exception:
    """Tell what another connection may mend from what only an administrator can."""
    import ldap

    passing = (ldap.SERVER_DOWN, ldap.TIMEOUT, ldap.CONNECT_ERROR, ldap.UNAVAILABLE, ldap.BUSY, ldap.TIMELIMIT_EXCEEDED)
    return LineBroken(_plain(error)) if isinstance(error, passing) else ConfigError(_plain(error))


def _plain(error: Any) -> str:
    """Say what went wrong: the library's words, and what the server adds."""
    said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return ": ".join(str(said[key]) for key in ("desc", "info") if said.get(key)) or type(error).__name__
