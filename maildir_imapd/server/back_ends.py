"""The back ends that the settings name, opened: the one place that knows them all."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth import command, directory, pam, postgres, sql
from maildir_imapd.auth.beside import Asks, Questions
from maildir_imapd.auth.devices import Devices, DeviceSource
from maildir_imapd.auth.directory import Directory, DirectorySearch, Ldap
from maildir_imapd.auth.dovecot import DovecotAuth
from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.auth.masters import Masters
from maildir_imapd.auth.names import Spelling, variables
from maildir_imapd.auth.passwdfile import PasswdFile, PasswdFiles
from maildir_imapd.auth.postgres import PostgresDatabase
from maildir_imapd.auth.sql import Database, Queries, Sql, SqlDevices
from maildir_imapd.auth.sqlite import SqliteDatabase
from maildir_imapd.auth.static import Static
from maildir_imapd.auth.system import System
from maildir_imapd.auth.waiting import Pool, Until
from maildir_imapd.errors import ConfigError
from maildir_imapd.server.aside import Directly

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Authenticator, UserSource
    from maildir_imapd.auth.beside import Answer
    from maildir_imapd.config import Config
    from maildir_imapd.server.last_logins import LastLoginQuery


def opened(config: Config, *, remember: float = 0.0, asks: Asks | None = None) -> list[Authenticator]:
    """Open the back ends that check, in their order, each with those that know its users; raises ConfigError.

    *remember*: seconds for which what another program has said of a user holds.  *asks*: whoever answers questions in
    processes beside this one; None: they are forked from it, which must have no threads then.
    """
    opening = _Opening(config, remember, asks)
    sources = [source for name in config.userdb for source in opening.sources(name)]
    found: list[Authenticator] = []
    for name in checking_names(config):
        # PAM knows nobody, and its users are most often the system's.
        own = sources or (opening.sources("system") if name == "pam" else [])
        checking = opening.checking(name)
        # Who checks and is the only one to be asked has said all there is.
        found += [Joined(each, own) if own and list(own) != [each] else each for each in checking]
    return found


def checking_names(config: Config) -> tuple[str, ...]:
    """Name the back ends that check, in their order."""
    return tuple(dict.fromkeys(config.auth or ("passwd-file",)))


def answers(config: Config) -> dict[str, Answer]:
    """Return what is to be answered by processes beside the workers, by name; raises ConfigError."""
    names = checking_names(config)
    found = {}
    if "pam" in names:
        found["pam"] = pam.answer(config.pam_service, session=config.pam_session)
    if "command" in names:
        if not config.auth_command:
            raise ConfigError("auth = command needs auth_command")
        found["command"] = command.answer(config.auth_command)
    return found


def most_answers(config: Config) -> int:
    """Return how many questions are to be answered at the same time, of all workers."""
    return int(config.auth_connections) * 2


def files(config: Config) -> tuple[str, ...]:
    """Name the files that back ends read while the server runs, also when another has taken their place."""
    # Of a path with variables what stands before the first of them.
    found = [path.partition("%")[0] for path in config.passwd_file]
    if (config.sql_connect or "").startswith(_SQLITE):
        found.append(config.sql_connect.removeprefix(_SQLITE))
    if config.ldap_ca is not None:
        found.append(config.ldap_ca)
    if config.oauth_keys and "://" not in config.oauth_keys:
        found.append(config.oauth_keys)
    found += [file for file in (config.auth_master_file, config.auth_device_file) if file is not None]
    return tuple(found)


_SQLITE: Final = "sqlite:"


def spelling(config: Config) -> Spelling:
    """Say how names are spelled before a back end is asked."""
    return Spelling(config.auth_default_realm or "", config.auth_username_format or "")


def masters(config: Config) -> Masters | None:
    """Open the file of those who may act for others; raises ConfigError."""
    path = config.auth_master_file
    return None if path is None else Masters(PasswdFile(path), config.auth_master_separator)


def devices(config: Config) -> list[DeviceSource]:
    """Open where the passwords of devices are: the file, then the database; raises ConfigError."""
    found: list[DeviceSource] = []
    if config.auth_device_file is not None:
        found.append(Devices(config.auth_device_file))
    if config.sql_device_query is not None:
        query = sql.parse(config.sql_device_query)
        found.append(SqlDevices(_database(config, "sql_device_query"), query, scheme=config.sql_password_scheme))
    return found


def tokens(config: Config) -> tuple[str, str]:
    """Return the scope that a token must have, and where to get one (OpenID Connect Discovery 4), or "" for each."""
    issuer = config.oauth_issuer or ""
    discovery = f"{issuer.rstrip('/')}/.well-known/openid-configuration" if issuer.startswith("https://") else ""
    return " ".join(config.oauth_scope), discovery


class _Opening:
    """Opens each back end once, whether it is to check or to know."""

    def __init__(self, config: Config, remember: float, asks: Asks | None) -> None:
        self.config = config
        self.remember = remember
        self._asks = asks
        self._checking: dict[str, Sequence[Authenticator]] = {}

    def checking(self, name: str) -> Sequence[Authenticator]:
        """The back ends of a name in ``auth``."""
        if name not in self._checking:
            self._checking[name] = _CHECKING[name](self)
        return self._checking[name]

    def sources(self, name: str) -> Sequence[UserSource]:
        """The back ends of a name in ``userdb``."""
        if name in _KNOWING:
            return _KNOWING[name](self)
        return self.checking(name)

    def kept(self, back_end: Authenticator) -> Authenticator:
        """The same one, not asked again for a while who somebody is."""
        nobody = self.config.auth_cache_negative_time
        return LookUps(back_end, seconds=self.remember, nobody_seconds=nobody)

    def questions(self, name: str) -> Questions:
        """Questions that are answered beside this process."""
        asks = self._asks or Directly(answers(self.config))
        return Questions(name, asks, most=self.config.auth_connections, seconds=self.config.auth_timeout)


# --- one function for each name -------------------------------------------------------------------


def _passwd_files(opening: _Opening) -> list[Authenticator]:
    return [
        PasswdFiles(path) if variables(path) else PasswdFile(path.replace("%%", "%"))
        for path in opening.config.passwd_file
    ]


def _pam(opening: _Opening) -> list[Authenticator]:
    return [pam.Pam(opening.questions("pam"))]


def _command(opening: _Opening) -> list[Authenticator]:
    return [command.CheckCommand(opening.questions("command"))]


def _system(opening: _Opening) -> list[UserSource]:
    return [System(opening.config.system_first_uid)]


def _static(opening: _Opening) -> list[UserSource]:
    if not opening.config.auth_static:
        raise ConfigError("userdb = static needs auth_static")
    return [Static(dict(opening.config.auth_static))]


def _sql_parts(opening: _Opening) -> tuple[Pool[Database], Queries]:
    """Make what asks the database, and the queries; raises ConfigError."""
    config = opening.config
    written = (config.sql_password_query, config.sql_user_query, config.sql_iterate_query)
    queries = Queries(*(None if each is None else sql.parse(each) for each in written))
    return _database(config, "sql"), queries


def last_login(config: Config) -> LastLoginQuery | None:
    """Make what tells the database of logins, by a connection of its own; raises ConfigError."""
    if config.sql_last_login_query is None:
        return None
    from maildir_imapd.server.last_logins import LastLoginQuery

    query = sql.parse(config.sql_last_login_query, of_login=True)
    return LastLoginQuery(_database(config, "sql_last_login_query", writable=True), query)


def written(config: Config) -> tuple[str, ...]:
    """Name the files that are changed while the server runs, with others in their directories."""
    where = config.sql_connect or ""
    if config.sql_last_login_query is None or not where.startswith(_SQLITE):
        return ()
    return (where.removeprefix(_SQLITE),)


def _database(config: Config, needed_by: str, *, writable: bool = False) -> Pool[Database]:
    """Make what asks the database, or with *writable* what changes it, one at a time; raises ConfigError."""
    where = config.sql_connect
    if where is None:
        raise ConfigError(f"{needed_by} needs sql_connect")
    secret = first_line("sql_password_file", config.sql_password_file)
    if where.startswith(_SQLITE):
        path = where.removeprefix(_SQLITE)

        def open_line(until: Until) -> Database:
            return SqliteDatabase(path, until, writable=writable)

    else:
        postgres.demand_library()

        def open_line(until: Until) -> Database:
            return PostgresDatabase(where, secret, until)

    return Pool("sql", open_line, most=1 if writable else config.auth_connections, seconds=config.auth_timeout)


def _sql(opening: _Opening) -> list[Authenticator]:
    pool, queries = _sql_parts(opening)
    if queries.password is None:
        raise ConfigError("auth = sql needs sql_password_query")
    return [opening.kept(Sql(pool, queries, scheme=opening.config.sql_password_scheme))]


def _sql_users(opening: _Opening) -> list[UserSource]:
    pool, queries = _sql_parts(opening)
    if queries.user is None and queries.password is None:
        raise ConfigError("userdb = sql needs sql_user_query")
    queries = Queries(None, queries.user or queries.password, queries.everybody)
    return [opening.kept(Sql(pool, queries, scheme=opening.config.sql_password_scheme))]


def _ldap(opening: _Opening) -> list[Authenticator]:
    config = opening.config
    if not config.ldap_uri or config.ldap_base is None:
        raise ConfigError("ldap needs ldap_uri and ldap_base")
    directory.demand_library()
    where = Directory(
        uris=config.ldap_uri,
        starttls=config.ldap_starttls,
        ca=config.ldap_ca,
        bind_dn=config.ldap_bind_dn,
        bind_password=first_line("ldap_bind_password_file", config.ldap_bind_password_file),
    )
    search = DirectorySearch(
        config.ldap_base, config.ldap_filter, config.ldap_name_attribute, config.ldap_user_attributes
    )
    most, seconds = config.auth_connections, config.auth_timeout
    return [opening.kept(Ldap(where, search, most=most, seconds=seconds))]


def _dovecot(opening: _Opening) -> list[Authenticator]:
    config = opening.config
    if config.dovecot_auth_socket is None:
        raise ConfigError("auth = dovecot needs dovecot_auth_socket")
    most, seconds = config.auth_connections, config.auth_timeout
    both = DovecotAuth(config.dovecot_auth_socket, config.dovecot_userdb_socket, most=most, seconds=seconds)
    return [opening.kept(both)]


def _dovecot_users(opening: _Opening) -> list[UserSource]:
    config = opening.config
    if config.dovecot_userdb_socket is None:
        raise ConfigError("userdb = dovecot needs dovecot_userdb_socket")
    most, seconds = config.auth_connections, config.auth_timeout
    return [opening.kept(DovecotAuth(None, config.dovecot_userdb_socket, most=most, seconds=seconds))]


def first_line(setting: str, path: str | None) -> str | None:
    """Read a secret; None for no file; raises ConfigError."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{setting} {path}: {getattr(error, 'strerror', None) or 'it is no text'}") from error


# Those that check, and may know; and those that only know.
def _oauth(opening: _Opening) -> list[Authenticator]:
    """Raise ConfigError where a token could not be checked, or anybody's would do."""
    # Here, for they bring a client of HTTP along, which takes memory in every worker.
    from maildir_imapd.auth.oauth import ALGORITHMS, Introspection, Jwts, KeySet, OAuth, Wanted, file_of_keys
    from maildir_imapd.auth.web import Web

    config = opening.config
    wanted = Wanted(
        config.oauth_issuer or "",
        config.oauth_audience,
        config.oauth_algorithms or ALGORITHMS,
        config.oauth_user_claim,
        config.oauth_scope,
    )
    if not wanted.issuer or not (config.oauth_keys or config.oauth_introspection):
        raise ConfigError("auth = oauth needs oauth_issuer, and oauth_keys or oauth_introspection")
    if config.oauth_keys and not wanted.audiences:
        raise ConfigError("oauth_keys needs oauth_audience, or tokens for any other service would let in here")
    try:
        tls = None if config.oauth_ca is None else ssl.create_default_context(cafile=config.oauth_ca)
    except OSError as error:
        raise ConfigError(f"oauth_ca {config.oauth_ca}: {error.strerror or error}") from error

    def web(url: str) -> Web:
        return Web(url, most=config.auth_connections, seconds=config.auth_timeout, tls=tls)

    checks: list[Jwts | Introspection] = []
    if config.oauth_keys:
        fetch = web(config.oauth_keys).fetch if "://" in config.oauth_keys else file_of_keys(config.oauth_keys)
        checks.append(Jwts(KeySet(fetch), wanted))
    if config.oauth_introspection:
        client, secret = config.oauth_client_id or "", _secret(config.oauth_client_secret_file)
        asks = web(config.oauth_introspection)
        checks.append(Introspection(asks, wanted, client=client, secret=secret, remember=opening.remember))
    return [OAuth(checks, wanted, spelling(config))]


def _secret(path: str | None) -> str:
    if path is None:
        raise ConfigError("oauth_introspection needs oauth_client_id and oauth_client_secret_file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"oauth_client_secret_file {path}: {getattr(error, 'strerror', None) or error}") from error


_CHECKING: Final[dict[str, Callable[[_Opening], list[Authenticator]]]] = {
    "oauth": _oauth,
    "passwd-file": _passwd_files,
    "pam": _pam,
    "ldap": _ldap,
    "sql": _sql,
    "command": _command,
    "dovecot": _dovecot,
}
_KNOWING: Final[dict[str, Callable[[_Opening], list[UserSource]]]] = {
    "system": _system,
    "sql": _sql_users,
    "static": _static,
    "dovecot": _dovecot_users,
}
