"""The back ends that the settings name, opened: the one place that knows them all."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.devices import Devices
from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.auth.masters import Masters
from maildir_imapd.auth.names import Spelling, variables
from maildir_imapd.auth.oauth import ALGORITHMS, Introspection, Jwts, KeySet, OAuth, Wanted, file_of_keys
from maildir_imapd.auth.passwdfile import PasswdFile, PasswdFiles
from maildir_imapd.auth.web import Web
from maildir_imapd.errors import ConfigError

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Authenticator, UserSource
    from maildir_imapd.config import Config


def opened(config: Config, *, remember: float = 0.0) -> list[Authenticator]:
    """Open the back ends that check, in their order, each with those that know its users; raises ConfigError.

    *remember*: seconds for which what another program has said of a user holds.
    """
    opening = _Opening(config, remember)
    sources = [source for name in config.userdb for source in opening.sources(name)]
    checking = [back_end for name in checking_names(config) for back_end in opening.checking(name)]
    if not sources:
        return checking
    return [Joined(back_end, sources) for back_end in checking]


def checking_names(config: Config) -> tuple[str, ...]:
    """Name the back ends that check, in their order."""
    return tuple(dict.fromkeys(config.auth or ("passwd-file",)))


def files(config: Config) -> tuple[str, ...]:
    """Name the files that back ends read while the server runs, also when another has taken their place."""
    # Of a path with variables what stands before the first of them.
    found = [path.partition("%")[0] for path in config.passwd_file]
    if config.oauth_keys and "://" not in config.oauth_keys:
        found.append(config.oauth_keys)
    found += [file for file in (config.auth_master_file, config.auth_device_file) if file is not None]
    return tuple(found)


def spelling(config: Config) -> Spelling:
    """Say how names are spelled before a back end is asked."""
    return Spelling(config.auth_default_realm or "", config.auth_username_format or "")


def masters(config: Config) -> Masters | None:
    """Open the file of those who may act for others; raises ConfigError."""
    path = config.auth_master_file
    return None if path is None else Masters(PasswdFile(path), config.auth_master_separator)


def devices(config: Config) -> Devices | None:
    """Open the file of the passwords of devices; raises ConfigError."""
    path = config.auth_device_file
    return None if path is None else Devices(path)


def tokens(config: Config) -> tuple[str, str]:
    """Return the scope that a token must have, and where to get one (OpenID Connect Discovery 4), or "" for each."""
    issuer = config.oauth_issuer or ""
    discovery = f"{issuer.rstrip('/')}/.well-known/openid-configuration" if issuer.startswith("https://") else ""
    return " ".join(config.oauth_scope), discovery


class _Opening:
    """Opens each back end once, whether it is to check or to know."""

    def __init__(self, config: Config, remember: float) -> None:
        self.config = config
        self.remember = remember
        self._open: dict[str, Sequence[Authenticator]] = {}

    def checking(self, name: str) -> Sequence[Authenticator]:
        """The back ends of a name in ``auth``."""
        if name not in self._open:
            self._open[name] = list(_CHECKING[name](self))
        return self._open[name]

    def sources(self, name: str) -> Sequence[UserSource]:
        """The back ends of a name in ``userdb``."""
        return self.checking(name)

    def _kept(self, back_end: Authenticator) -> Authenticator:
        """The same one, not asked again for a while who somebody is."""
        nobody = self.config.auth_cache_negative_time
        return LookUps(back_end, seconds=self.remember, nobody_seconds=nobody)


# --- one function for each name -------------------------------------------------------------------


def _passwd_files(opening: _Opening) -> Iterator[Authenticator]:
    for path in opening.config.passwd_file:
        yield PasswdFiles(path) if variables(path) else PasswdFile(path.replace("%%", "%"))


def _oauth(opening: _Opening) -> Iterator[Authenticator]:
    """Raise ConfigError where a token could not be checked, or anybody's would do."""
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
    yield OAuth(checks, wanted, spelling(config))


def _secret(path: str | None) -> str:
    if path is None:
        raise ConfigError("oauth_introspection needs oauth_client_id and oauth_client_secret_file")
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"oauth_client_secret_file {path}: {getattr(error, 'strerror', None) or error}") from error


_CHECKING: Final[dict[str, Callable[[_Opening], Iterator[Authenticator]]]] = {
    "passwd-file": _passwd_files,
    "oauth": _oauth,
}
