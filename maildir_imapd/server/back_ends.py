"""The back ends that the settings name, opened: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from maildir_imapd.auth.joined import Joined
from maildir_imapd.auth.lookups import LookUps
from maildir_imapd.auth.names import variables
from maildir_imapd.auth.passwdfile import PasswdFile, PasswdFiles

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
    return tuple(path.partition("%")[0] for path in config.passwd_file)


class _Opening:
    """Opens each back end once, whether it is to check or to know."""

    def __init__(self, config: Config, remember: float) -> None:
        self._config = config
        self._remember = remember
        self._open: dict[str, Sequence[Authenticator]] = {}

    def checking(self, name: str) -> Sequence[Authenticator]:
        """The back ends of a name in ``auth``."""
        if name not in self._open:
            self._open[name] = list(_CHECKING[name](self._config))
        return self._open[name]

    def sources(self, name: str) -> Sequence[UserSource]:
        """The back ends of a name in ``userdb``."""
        return self.checking(name)

    def _kept(self, back_end: Authenticator) -> Authenticator:
        """The same one, not asked again for a while who somebody is."""
        nobody = self._config.auth_cache_negative_time
        return LookUps(back_end, seconds=self._remember, nobody_seconds=nobody)


# --- one function for each name -------------------------------------------------------------------


def _passwd_files(config: Config) -> Iterator[Authenticator]:
    for path in config.passwd_file:
        yield PasswdFiles(path) if variables(path) else PasswdFile(path.replace("%%", "%"))


_CHECKING: Final[dict[str, Callable[[Config], Iterator[Authenticator]]]] = {"passwd-file": _passwd_files}
