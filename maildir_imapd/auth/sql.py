"""The back end over a database: users are rows, whose columns are called as Dovecot's fields are.

A query has %u, %n and %d in it, which become parameters: what a client sends is never part of the text.  Only what
reaches the database is a matter of its own file here, for SQLite and for PostgreSQL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from maildir_imapd.auth import devices, fields, schemes
from maildir_imapd.auth.base import Credential, External, Identity, Password, Proven, Registered
from maildir_imapd.auth.devices import Device
from maildir_imapd.auth.names import valid_user
from maildir_imapd.auth.waiting import Pool, Until
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

log = Log(__name__)

# Names that go with a query, by their columns; None: NULL.
Row: TypeAlias = Mapping[str, str | None]
_VARIABLE: Final = re.compile(r"""'%(L?[und]|[trs])'|%(L?[und]|[trs])|%(%)|(%)""")
_OF_LOGINS: Final = ("t", "r", "s")
_MOST_ROWS: Final = 2
_NEEDED: Final = frozenset({"name", "password"})
_OF_DEVICES: Final = _NEEDED | {"read_only", "made"}


class Database(Protocol):
    """An open connection to a database."""

    def rows(
        self, query: Query, user: str, until: Until, most: int | None, login: LoginFacts | None = None
    ) -> list[Row]:
        """Return the rows, *most* of them if that is said, and none of a statement that has none; raises LineBroken,
        OSError, or ConfigError for a query that the database does not take.

        *login*: for a query about one.
        """
        ...

    def close(self) -> None:
        """As ``BackEndLine.close``."""
        ...


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """A login of a user's: when, in seconds since the epoch, from where, and to which service."""

    seconds: int
    address: str
    service: str


@dataclass(frozen=True, slots=True)
class Query:
    """A query in pieces: text, and between two of them the name of a parameter ("u", "Ln", "t" ...)."""

    text: tuple[str, ...]
    parameters: tuple[str, ...]

    def with_marks(self, mark: str, escape: Callable[[str], str] = str) -> str:
        """Join it, with *mark* for each parameter."""
        return mark.join(map(escape, self.text))

    def values(self, user: str, login: LoginFacts | None = None) -> list[str]:
        """Return the parameters for a user, and his *login* where the query is about one."""
        local, _, domain = user.partition("@")
        all_of = {"u": user, "n": local, "d": domain}
        if login is not None:
            all_of |= {"t": str(login.seconds), "r": login.address, "s": login.service}
        return [all_of[name[-1]].lower() if name[0] == "L" else all_of[name] for name in self.parameters]


def parse(written: str, *, of_login: bool = False) -> Query:
    """Read a query: %u, %n, %d (with an L in small letters), with or without quotes around, are parameters, %% is a
    percent sign; *of_login*: and %t (when), %r (from where) and %s (the service). Raises ValueError.
    """
    text = [""]
    parameters = []
    end = 0
    for found in _VARIABLE.finditer(written):
        text[-1] += written[end : found.start()]
        end = found.end()
        if found[4] or (not of_login and (found[1] or found[2]) in _OF_LOGINS):
            raise ValueError("a query may use the variables %u, %n and %d, and %% for a percent sign")
        if found[3]:
            text[-1] += "%"
        else:
            parameters.append(found[1] or found[2])
            text.append("")
    text[-1] += written[end:]
    return Query(tuple(text), tuple(parameters))


@dataclass(frozen=True, slots=True)
class Queries:
    """The queries for a password with what else is known of a user, for a user without it, and for all names.

    None: for nothing; of *user* that it is known from *password* alone.
    """

    password: Query | None
    user: Query | None
    everybody: Query | None


class Sql:
    """The back end over a database.  Safe from any thread.

    *scheme*: of stored passwords that do not say theirs.
    """

    takes = (Password, Proven, External)

    def __init__(self, pool: Pool[Database], queries: Queries, *, scheme: str) -> None:
        self.name = pool.name
        self._pool = pool
        self._queries = queries
        self._scheme = scheme
        self._dummy: str | None = None

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``; a column ``user`` has the name in the spelling that counts."""
        found = self._record(user)
        return found[1] if found is not None else None

    def _record(self, user: str) -> tuple[str, Registered] | None:
        """Return the secret of a user, "" for none, and who he is."""
        if not valid_user(user):
            return None
        stored: str | None = None
        said: dict[str, str] = {}
        query, more = self._queries.password, self._queries.user
        if query is not None:
            row = self._row(query, user)
            if row is None:
                return None
            stored = row.get("password")
            said = _said(row)
        if more is not None:
            row = self._row(more, said.get("user", user))
            if row is None:
                return None
            said = _said(row) | said
        version = (stored, tuple(sorted(said.items())))
        registered = Registered(self._identity(user, said), version, fields.may_log_in(said))
        return self._with_scheme(stored or ""), registered

    def stored(self, user: str) -> str | None:
        """As ``SecretKeeper.stored``."""
        found = self._record(user) if self._queries.password is not None else None
        return (found[0] or None) if found is not None else None

    def all_kept_as(self, schemes: Container[str]) -> bool:
        """As ``SecretKeeper.all_kept_as``: False, for the passwords of all are never asked for."""
        return False

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``; the database is asked first, then the hash waits for its turn."""
        if self._queries.password is None:
            raise AuthenticationFailed
        if not isinstance(credential, Password):
            return self._check_proof(credential)
        user, password = credential.user, credential.password
        row = self._row(self._queries.password, user) if valid_user(user) else None
        stored = self._with_scheme((row or {}).get("password") or "")
        known = bool(stored)
        with schemes.turn():
            try:
                good, why = schemes.verify(stored or self._stand_in(), password), ""
            except ValueError as error:
                log.warning("stored password cannot be used", user=user, why=error)
                good, why = False, "stored-password"
        if stored and not why:
            self._note_cost(stored)
        if row is None or not known or not good or not password:
            raise AuthenticationFailed(detail=why)
        said = _said(row)
        if not fields.may_log_in(said):
            raise AuthenticationFailed
        found = self.look_up(user)
        if found is None:
            log.warning("sql_user_query does not know the user", user=user)
            raise AuthenticationFailed(detail="not-in-user-query")
        if not found.may_log_in:
            raise AuthenticationFailed
        return found.identity

    def _check_proof(self, credential: Credential) -> Identity:
        """Check what needs no hash."""
        found = self._record(credential.user)
        match credential:
            case External():
                good = True
            case Proven(holds=holds, stored=stored):
                # What it was compared with may have been changed meanwhile.
                good = holds and bool(stored) and found is not None and stored == found[0]
            case _:
                good = False
        if found is None or not good or not found[1].may_log_in:
            raise AuthenticationFailed
        return found[1].identity

    def _identity(self, user: str, said: Mapping[str, str]) -> Identity:
        try:
            return fields.identity(said.get("user") or user, said)
        except ValueError as error:
            log.error("what the database says cannot be used", user=user, why=error)
            raise Unavailable(detail=f"{self.name}: {error}") from error

    def _with_scheme(self, stored: str) -> str:
        return stored if not stored or stored.startswith("{") else f"{{{self._scheme}}}{stored}"

    def _note_cost(self, stored: str) -> None:
        """Keep the dearest hash that was seen: a stranger is to cost what a user does."""
        if self._dummy is None or schemes.cost(stored) > schemes.cost(self._dummy):
            self._dummy = stored

    def _stand_in(self) -> str:
        if self._dummy is None:
            self._dummy = schemes.make(os.urandom(16).hex().encode())
        return self._dummy

    def _row(self, query: Query, user: str) -> Row | None:
        """Return the row of a user, if there is one and no other."""
        rows = self._ask(query, user, _MOST_ROWS)
        if len(rows) > 1:
            log.error("more than one row for a user", user=user, name=self.name)
            raise Unavailable(detail=f"{self.name}: more than one row")
        return rows[0] if rows else None

    def _ask(self, query: Query, user: str, most: int | None) -> list[Row]:
        return _ask(self._pool, query, user, most)

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``: the column ``user``, or ``username`` and ``domain``, of sql_iterate_query."""
        if self._queries.everybody is None:
            return []
        names = []
        for row in self._ask(self._queries.everybody, "", None):
            name = row.get("user") or row.get("username") or ""
            domain = row.get("domain")
            whole = f"{name}@{domain}" if domain and "@" not in name else name
            if valid_user(whole):
                names.append(whole)
        return names


class SqlDevices:
    """Passwords of devices in a database (``devices.DeviceSource``).  *scheme*: of those that do not say theirs.

    *query*: finds the devices of a user, with columns of ``_OF_DEVICES`` and no others, or a scope would be lost by a
    slip of the pen.
    """

    def __init__(self, pool: Pool[Database], query: Query, *, scheme: str) -> None:
        self._pool = pool
        self._query = query
        self._scheme = scheme

    def of(self, user: str) -> list[Device]:
        """As ``DeviceSource.of``; rows without a password, or whose name is none, are passed over."""
        found = []
        for row in _ask(self._pool, self._query, user, devices.MOST) if valid_user(user) else ():
            if not _NEEDED <= set(row) <= _OF_DEVICES:
                log.error("sql_device_query has other columns", name=self._pool.name, columns=sorted(row))
                raise Unavailable(detail=f"{self._pool.name}: columns of sql_device_query")
            name, stored, made = row["name"] or "", row["password"], row.get("made") or ""
            if not devices.valid_name(name):
                log.warning("device passed over: its name cannot be one", user=user)
            elif stored:
                seconds = int(made) if made.isascii() and made.isdigit() and len(made) < 12 else 0
                whole = stored if stored.startswith("{") else f"{{{self._scheme}}}{stored}"
                found.append(Device(user, name, whole, seconds, not _false(row.get("read_only"))))
        return found


def _ask(pool: Pool[Database], query: Query, user: str, most: int | None) -> list[Row]:
    try:
        return pool.ask(lambda database, until: database.rows(query, user, until, most))
    except ConfigError as error:
        # Not the user's fault, and not his business.
        log.error("the database does not take a query", name=pool.name, why=error.text)
        raise Unavailable(detail=f"{pool.name}: {error.text}") from error


def _false(value: str | None) -> bool:
    return value is None or value.lower() in ("", "0", "f", "n", "no", "false")


def _said(row: Row) -> dict[str, str]:
    """Fields of a row: NULL and "" say nothing, and a column ``nologin`` nothing by a value that is false."""
    return {
        name: value
        for name, value in row.items()
        if value is not None
        and value != ""
        and name != "password"
        and not (name in ("nologin", "userdb_nologin") and _false(value))
    }


def texts(names: Sequence[str], values: Sequence[object]) -> Row:
    """Make a row of what a database has given; numbers and the like become texts; raises ValueError for octets."""
    row: dict[str, str | None] = {}
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bytes):
            value = value.decode()
        row[name.lower()] = None if value is None else str(value)
    return row
