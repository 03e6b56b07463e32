"""The back end over tokens of an issuer's (OAuth 2): JWTs checked here by PyJWT, or the issuer is asked (RFC 7662).

It knows nobody before he has shown a token.  Of a token's own header only the name of its key is taken, to look it up
among the issuer's; which algorithms are good, and where keys are, say the settings alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

from maildir_imapd.auth.base import Credential, Identity, Registered, Token
from maildir_imapd.auth.names import Spelling
from maildir_imapd.auth.web import Web
from maildir_imapd.errors import AuthenticationFailed, ConfigError, Unavailable
from maildir_imapd.events import Log

if TYPE_CHECKING:
    import jwt

log = Log(__name__)

# Only those with a public key: of a shared secret every service that checks tokens could make some.
ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_KEY_TYPES: Final = ("RSA", "EC", "OKP")
# Seconds that clocks may differ by.
LEEWAY_SECONDS: Final = 30
# Seconds between two questions for keys because of one that is not known, and until they are asked for anyway.
KEYS_AT_MOST_EVERY_SECONDS: Final = 30.0
KEYS_OLD_SECONDS: Final = 900.0
_LEAST_PYJWT: Final = [2, 12]
# Answers of the issuer's that are remembered.
_ANSWERS: Final = 10_000

Claims = Mapping[str, Any]


def demand_library() -> None:
    """Raise ConfigError where the library is not installed; loads it as long as everything can be read."""
    try:
        import jwt
        import jwt.algorithms
    except ImportError as error:
        raise ConfigError("auth = oauth needs the library PyJWT: install maildir-imapd[oauth]") from error
    if [int(part) for part in jwt.__version__.split(".")[:2]] < _LEAST_PYJWT:
        # Older ones take a key in another form only, and tokens that say what nobody here understands (crit).
        raise ConfigError(f"auth = oauth needs PyJWT 2.12 or newer, and here is {jwt.__version__}")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The demands on a token, as the settings say."""

    issuer: str
    audiences: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ALGORITHMS
    claim: str = "email"
    scopes: tuple[str, ...] = ()


class KeySet:
    """The issuer's public keys, from a file or a URL; safe from any thread.

    *fetch* reads the set, and raises Unavailable.  A set that is old is kept while there is no newer one to be had.
    """

    def __init__(self, fetch: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._fetching = threading.Lock()  # held while the set is read
        self._lock = threading.Lock()  # guards everything below
        self._keys: tuple[jwt.PyJWK, ...] = ()
        self._tried: float | None = None
        self._had: float | None = None
        self._failed = False  # the last time

    def key(self, name: str | None) -> jwt.PyJWK | None:
        """Find the key of that name, or the only one where a token names none; raises Unavailable."""
        with self._lock:
            old = self._had is None or self._clock() - self._had >= KEYS_OLD_SECONDS
        if old:
            self._renew()
        found = self._find(name)
        if found is None and not old:
            self._renew()
            found = self._find(name)
        with self._lock:
            if found is None and self._failed:
                raise Unavailable(detail="no newer keys of the issuer's")
        return found

    def _find(self, name: str | None) -> jwt.PyJWK | None:
        with self._lock:
            keys, had = self._keys, self._had
        if had is None:
            raise Unavailable(detail="no keys of the issuer's")
        fitting = keys if name is None else [key for key in keys if key.key_id == name]
        return fitting[0] if len(fitting) == 1 else None

    def _renew(self) -> None:
        """Read the set, unless that was tried just now."""
        with self._fetching:
            with self._lock:
                now = self._clock()
                if self._tried is not None and now - self._tried < KEYS_AT_MOST_EVERY_SECONDS:
                    return
                self._tried, self._failed = now, True
            try:
                keys = _keys(self._fetch())
            except Unavailable:
                return  # it is said where it failed
            except ValueError as error:
                log.error("key set cannot be used", why=error)
                return
            with self._lock:
                self._keys, self._had, self._failed = keys, now, False


def _keys(data: bytes) -> tuple[jwt.PyJWK, ...]:
    """Read a key set (RFC 7517); raises ValueError where there is no key in it to check with."""
    import jwt

    try:
        found = jwt.PyJWKSet.from_dict(json.loads(data)).keys
    except (jwt.PyJWTError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"no set of keys ({type(error).__name__})") from error
    keys = tuple(key for key in found if key.key_type in _KEY_TYPES and key.public_key_use in (None, "sig"))
    if not keys:
        raise ValueError("no public keys in the set")
    return keys


def file_of_keys(path: str) -> Callable[[], bytes]:
    """Make what reads a key set from a file."""

    def fetch() -> bytes:
        try:
            with open(path, "rb") as file:
                return file.read(1 << 20)
        except OSError as error:
            log.error("key set cannot be read", path=path, why=error.strerror)
            raise Unavailable(detail=f"{path}: {error.strerror}") from error

    return fetch


class Jwts:
    """Tokens that say all by themselves (RFC 7519, 9068)."""

    def __init__(self, keys: KeySet, wanted: Wanted) -> None:
        demand_library()
        self._key_set = keys
        self._wanted = wanted

    def claims(self, token: bytes) -> Claims:
        """Return what a token claims, once all is checked that can be; raises AuthenticationFailed, Unavailable."""
        import jwt

        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            raise AuthenticationFailed(detail="token-malformed") from error
        if header.get("alg") not in self._wanted.algorithms:
            raise AuthenticationFailed(detail="token-algorithm")
        name = header.get("kid")
        key = self._key_set.key(name) if name is None or isinstance(name, str) else None
        if key is None:
            raise AuthenticationFailed(detail="token-key-unknown")
        try:
            return jwt.decode(
                token,
                key,
                algorithms=list(self._wanted.algorithms),
                issuer=self._wanted.issuer,
                audience=list(self._wanted.audiences),
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise AuthenticationFailed(detail="token-expired") from error
        except jwt.InvalidAudienceError as error:
            raise AuthenticationFailed(detail="token-for-others") from error
        except jwt.InvalidIssuerError as error:
            raise AuthenticationFailed(detail="token-of-another-issuer") from error
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError, OverflowError) as error:
            # Whatever else is wrong with it, the library's keys and numbers included.
            raise AuthenticationFailed(detail="token-wrong") from error


class Introspection:
    """Tokens that their issuer is asked about; what it says is remembered for *remember* seconds, if they live so long.

    *client* and *secret*: who asks.
    """

    def __init__(self, web: Web, wanted: Wanted, *, client: str, secret: str, remember: float) -> None:
        self._web = web
        self._wanted = wanted
        # RFC 6749 2.3.1: encoded as in a form, and then as for Basic.
        basic = base64.b64encode(f"{quote(client, '')}:{quote(secret, '')}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        self._remember = remember
        self._key = os.urandom(32)
        self._lock = threading.Lock()  # guards _known
        self._known: OrderedDict[bytes, tuple[Claims, float]] = OrderedDict()

    def claims(self, token: bytes) -> Claims:
        """Return what the issuer says of a token that lives; raises AuthenticationFailed, Unavailable."""
        digest = hashlib.blake2b(token, key=self._key).digest()
        with self._lock:
            known = self._known.get(digest)
        if known is not None and time.time() < known[1]:
            return known[0]
        body = urlencode({"token": token, "token_type_hint": "access_token"}).encode("ascii")
        try:
            said = json.loads(self._web.fetch(body, self._headers))
        except (ValueError, RecursionError) as error:
            log.error("answer about a token cannot be read")
            raise Unavailable(detail="introspection") from error
        if not isinstance(said, dict) or said.get("active") is not True:
            raise AuthenticationFailed(detail="token-not-active")
        now = time.time()
        ends = self._checked(said, now)
        if self._remember:
            with self._lock:
                self._known[digest] = (said, min(now + self._remember, ends))
                while len(self._known) > _ANSWERS:
                    self._known.popitem(last=False)
        return said

    def _checked(self, said: Claims, now: float) -> float:
        """Return the time at which the token ends."""
        issuer, audience, ends = said.get("iss", self._wanted.issuer), said.get("aud", ()), said.get("exp", math.inf)
        if not isinstance(ends, int | float) or isinstance(ends, bool) or not ends > now:
            raise AuthenticationFailed(detail="token-expired")
        if issuer != self._wanted.issuer:
            raise AuthenticationFailed(detail="token-of-another-issuer")
        audiences = [audience] if isinstance(audience, str) else audience
        if self._wanted.audiences and not any(each in self._wanted.audiences for each in _strings(audiences)):
            raise AuthenticationFailed(detail="token-for-others")
        return float(ends)


def _strings(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


class OAuth:
    """The back end.  *checks*: what tells the claims of a token, all of which must be good; the last one's count."""

    takes = (Token,)

    def __init__(self, checks: Iterable[Jwts | Introspection], wanted: Wanted, spelling: Spelling) -> None:
        self.name = f"oauth {wanted.issuer}"
        self._checks = tuple(checks)
        self._wanted = wanted
        self._spelling = spelling

    def look_up(self, user: str) -> Registered | None:
        """As ``Authenticator.look_up``: nobody."""
        return None

    def users(self) -> Iterable[str]:
        """As ``Authenticator.users``: nobody."""
        return ()

    def check(self, credential: Credential) -> Identity:
        """As ``Authenticator.check``; for an unknown user it takes as long as the token needs."""
        if not isinstance(credential, Token) or not credential.token:
            raise AuthenticationFailed
        claims: Claims = {}
        for check in self._checks:
            claims = check.claims(credential.token)
        scopes = claims.get("scope", claims.get("scp", ()))
        granted = scopes.split(" ") if isinstance(scopes, str) else _strings(scopes)
        if not set(self._wanted.scopes) <= set(granted):
            raise AuthenticationFailed(detail="token-without-scope")
        name = claims.get(self._wanted.claim)
        # An address that nobody has looked at may be anybody's.
        if not isinstance(name, str) or not name or (self._wanted.claim == "email" and not _verified(claims)):
            raise AuthenticationFailed(detail="token-without-name")
        return Identity(self._spelling.of(name))


def _verified(claims: Claims) -> bool:
    return claims.get("email_verified", True) in (True, "true")
