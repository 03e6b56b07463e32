"""Password schemes: what stands in a passwd-file, and whether a password fits it.

Names and spellings are Dovecot's: ``{SCHEME}data``, with ``.B64`` or ``.HEX`` behind the name when the data is
encoded otherwise than usual.  The slow hashes are libpass's (the maintained passlib), argon2-cffi's and
bcrypt's; those that none of them knows are crypt(3)'s (``libcrypt.py``); the plain digests come from hashlib.

What is not understood is refused with ValueError, never compared in some other way.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from passlib import hash as handlers
from passlib.exc import PasslibSecurityError

from maildir_imapd.auth import libcrypt, scram
from maildir_imapd.errors import Unavailable
from maildir_imapd.store.threads import locks

# bcrypt looks at no more, and its library refuses more.
_BCRYPT_LIMIT_OCTETS = 72
# Bounded: a line of the file must not be able to stop the server.
_PBKDF2_ROUNDS = 10_000_000
# Password hashes that may be worked out at a time in one process: each takes a core and, of argon2, 64 MiB.
_HASHES = max(2, os.cpu_count() or 1)
# Seconds for which one waits for its turn.
_HASH_TURN_SECONDS = 60.0
# A flood of wrong passwords waits here, and nobody else: one that is remembered needs no hash.
_turns = threading.BoundedSemaphore(_HASHES)

# Schemes whose data is text: the name of the hash says how it is made.
Text = Callable[[str, bytes], bool]


def _plain(stored: str, password: bytes) -> bool:
    return hmac.compare_digest(stored.encode("utf-8", "surrogateescape"), password)


def _bcrypt(stored: str, password: bytes) -> bool:
    return bool(handlers.bcrypt.verify(password[:_BCRYPT_LIMIT_OCTETS], stored))


def _pbkdf2(stored: str, password: bytes) -> bool:
    """Dovecot's ``$1$salt$rounds$hex``, which is SHA-1; no other form is known to be in use."""
    match = re.fullmatch(r"\$1\$([^$]+)\$([1-9][0-9]{0,7})\$([0-9a-f]{40})", stored)
    if match is None or int(match[2]) > _PBKDF2_ROUNDS:
        raise ValueError("not a PBKDF2 hash of the form $1$salt$rounds$hex")
    made = hashlib.pbkdf2_hmac("sha1", password, match[1].encode(), int(match[2]))
    return hmac.compare_digest(made.hex(), match[3])


def _handler(name: str) -> Text:
    handler = getattr(handlers, name)
    return lambda stored, password: bool(handler.verify(password, stored))


_TEXT: dict[str, Text] = {
    "ARGON2ID": _handler("argon2"),
    "ARGON2I": _handler("argon2"),
    # Dovecot 2.4's name for both.
    "ARGON2": _handler("argon2"),
    "BLF-CRYPT": _bcrypt,
    "BCRYPT": _bcrypt,
    "SHA512-CRYPT": _handler("sha512_crypt"),
    "SHA256-CRYPT": _handler("sha256_crypt"),
    "MD5-CRYPT": _handler("md5_crypt"),
    "DES-CRYPT": _handler("des_crypt"),
    "PBKDF2": _pbkdf2,
    "CRYPT": libcrypt.verify,
    "SCRAM-SHA-1": partial(scram.verify, "SCRAM-SHA-1"),
    "SCRAM-SHA-256": partial(scram.verify, "SCRAM-SHA-256"),
    "PLAIN": _plain,
    "PLAINTEXT": _plain,
    "CLEAR": _plain,
    "CLEARTEXT": _plain,
}

# Of these, those that have the password itself.
READABLE: Final = frozenset({"PLAIN", "PLAINTEXT", "CLEAR", "CLEARTEXT"})

# Schemes whose data is octets, a digest with or without a salt behind it: the digest, whether there is a salt,
# and how the octets are written when the scheme's name does not say.
_DIGESTS: dict[str, tuple[str, bool, str]] = {
    "SHA": ("sha1", False, "B64"),
    "SHA1": ("sha1", False, "B64"),
    "SHA256": ("sha256", False, "B64"),
    "SHA512": ("sha512", False, "B64"),
    "SSHA": ("sha1", True, "B64"),
    "SSHA256": ("sha256", True, "B64"),
    "SSHA512": ("sha512", True, "B64"),
    "SMD5": ("md5", True, "B64"),
    "LDAP-MD5": ("md5", False, "B64"),
    "PLAIN-MD5": ("md5", False, "HEX"),
}

# A hash without a scheme in front, or behind {CRYPT}, is a crypt(3) string and told by its beginning.
_CRYPT = (
    ("$argon2id$", "ARGON2ID"),
    ("$argon2i$", "ARGON2I"),
    ("$2a$", "BLF-CRYPT"),
    ("$2b$", "BLF-CRYPT"),
    ("$2y$", "BLF-CRYPT"),
    ("$6$", "SHA512-CRYPT"),
    ("$5$", "SHA256-CRYPT"),
    ("$1$", "MD5-CRYPT"),
)
_DES = re.compile(r"[./0-9A-Za-z]{13}").fullmatch

# Schemes that ``user add`` and ``user passwd`` write.
WRITTEN = ("ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "SCRAM-SHA-256", "SSHA512", "SSHA", "PLAIN")


def split(stored: str) -> tuple[str, str, str]:
    """Take a stored password apart: scheme in capitals, encoding ("", "B64" or "HEX"), data; raises ValueError."""
    if not stored.startswith("{"):
        return _crypt_scheme(stored), "", stored
    name, brace, data = stored[1:].partition("}")
    if not brace:
        raise ValueError("the scheme is not closed with }")
    scheme, dot, encoding = name.upper().partition(".")
    encoding = {"BASE64": "B64"}.get(encoding, encoding)
    if dot and encoding not in ("B64", "HEX"):
        raise ValueError("the encoding behind the scheme is neither .B64 nor .HEX")
    if scheme in ("CRYPT", "MD5"):
        # Dovecot's MD5 is MD5-CRYPT by another name.
        if encoding:
            data = _decode(data, encoding).decode("ascii")
        return _crypt_scheme(data), "", data
    if scheme not in _TEXT and scheme not in _DIGESTS:
        raise ValueError(f"the scheme {_shown(scheme)} is not supported")
    return scheme, encoding, data


def _shown(scheme: str) -> str:
    # A line that is only torn may have the password in this place; a scheme's name is never so odd.
    return scheme if re.fullmatch(r"[A-Z0-9-]{1,20}", scheme) else "there"


def _crypt_scheme(data: str) -> str:
    for beginning, scheme in _CRYPT:
        if data.startswith(beginning):
            return scheme
    if _DES(data):
        return "DES-CRYPT"
    if libcrypt.demand(data):
        return "CRYPT"
    match = re.match(r"\$([a-z0-9]{1,10})\$", data)
    if match:
        raise ValueError(f"crypt hashes that begin with ${match[1]}$ are not supported, or it is not a whole one")
    raise ValueError("the scheme is missing")


def _decode(data: str, encoding: str) -> bytes:
    try:
        if encoding == "HEX":
            return bytes.fromhex(data)
        return base64.b64decode(data.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"the data is not {'hexadecimal' if encoding == 'HEX' else 'base64'}") from error


def _digest(scheme: str, encoding: str, data: str, password: bytes) -> bool:
    name, salted, usual = _DIGESTS[scheme]
    size = hashlib.new(name, usedforsecurity=False).digest_size
    if not encoding:
        # As Dovecot does: a digest without a salt may be written either way, and its length tells which.
        encoding = usual if salted else "HEX" if len(data) == 2 * size else "B64"
    octets = _decode(data, encoding)
    if len(octets) < size or (len(octets) > size) != salted:
        raise ValueError("the digest has the wrong length")
    made = hashlib.new(name, password + octets[size:], usedforsecurity=False).digest()
    return hmac.compare_digest(made, octets[:size])


def verify(stored: str, password: bytes) -> bool:
    """Say whether *password* fits; raises ValueError when the stored one cannot be understood."""
    scheme, encoding, data = split(stored)
    if scheme in _DIGESTS:
        return _digest(scheme, encoding, data, password)
    if encoding:
        data = _decode(data, encoding).decode("utf-8", "surrogateescape")
    try:
        return _TEXT[scheme](data, password)
    except (PasslibSecurityError, IndexError, TypeError) as error:
        raise ValueError(str(error)) from error


def readable(stored: str) -> bytes | None:
    """Tell the password itself where it is stored as it is; None where it is not, or cannot be understood."""
    try:
        scheme, encoding, data = split(stored)
        if scheme not in READABLE:
            return None
        return _decode(data, encoding) if encoding else data.encode("utf-8", "surrogateescape")
    except ValueError:
        return None


# A password that each scheme is tried with, and what it is stored as: as cheap as the scheme can be.
_TRIED: Final = b"tried"
_SAMPLES: Final = (
    "{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$bWFpbGRpcmltYXBk$EAeJXm+jLFxVYCJf0AWUg+hLNQiL/jIJSychf1fjKQU",
    "{ARGON2I}$argon2i$v=19$m=8,t=1,p=1$bWFpbGRpcmltYXBk$oK7I/1GTLuBnkoQyiDI38F7EoS7915qV9oKPFULAhjo",
    "{BLF-CRYPT}$2b$04$maildirimapdmaildirimukh7Th9nS7FSYkrZLE7Hdf0kRatiDLKi",
    (
        "{SHA512-CRYPT}$6$rounds=1000$maildirimapd"
        "$iaK3FA8lXRWQGDXsX4OMSRa/rP6.uMhSXOGscOCpu06A1y1dFT8hj5fhLHQeDZn0.WTv8j4XhxqHMpCxgg/bM0"
    ),
    "{SHA256-CRYPT}$5$rounds=1000$maildirimapd$SArSJEKC8vXzvC07pbcS4wXV6iUXFwfz1S4DKsc7.QC",
    "{MD5-CRYPT}$1$maildir$gQu6i01Ejixoy2AP4C.N31",
    "{DES-CRYPT}maUAULJ2YktqI",
    "{PBKDF2}$1$maildir$1$75b183c4719aec49427f4fdf9a4f11b158774631",
    "{SHA}xIMrNkS7UhMH5SJPSo8D0d7aYxg=",
    "{SCRAM-SHA-1}4096,bWFpbGRpcmltYXBk,868JUZrbx2B2Fsgmr1A91Pi4W60=,FBs8KQazZeJSpnJnmWokXqlicyw=",
    (
        "{SCRAM-SHA-256}4096,bWFpbGRpcmltYXBk,B8w/dKJA2F0T8XoWPay3SUEcBvOoEmWqI04CsexiT4g"
        "=,5qLcviQ3ssMlRsWs8R4lbpe+4hlG9PATga1dRIBbhBk="
    ),
)


def load() -> list[tuple[str, str]]:
    """Load the library of every scheme, and try it; return those that cannot be used, with why.

    Libraries load what does the work at the first password. A process that has given up its rights may not be able to
    read them any more, where Python lies in a home that others may not enter.
    """
    failed = []
    for sample in _SAMPLES:
        scheme = split(sample)[0]
        try:
            works = verify(sample, _TRIED)
        except Exception as error:
            failed.append((scheme, str(error)))
        else:
            if not works:
                failed.append((scheme, "a right password is wrong to it"))
    return failed + libcrypt.load()


@contextmanager
def turn() -> Iterator[None]:
    """Wait until this process may work out one more hash; raises Unavailable when that takes too long."""
    locks.waits("hashing")
    if not _turns.acquire(timeout=_HASH_TURN_SECONDS):
        raise Unavailable
    try:
        yield
    finally:
        _turns.release()


def cost(stored: str) -> float:
    """About how many microseconds it takes to check a password against *stored*; 0 for what cannot be understood."""
    try:
        scheme, encoding, data = split(stored)
        if encoding and scheme in _TEXT:
            data = _decode(data, encoding).decode("utf-8", "surrogateescape")
    except ValueError:
        return 0.0
    if scheme == "CRYPT":
        return libcrypt.cost(data)
    if match := re.search(r"\$m=(\d{1,9}),t=(\d{1,5}),", data):
        return 0.4 * int(match[1]) * int(match[2])
    if match := re.match(r"\$2[aby]\$(\d\d)\$", data):
        return 60.0 * float(2 ** min(int(match[1]), 31))
    if scheme in ("SHA512-CRYPT", "SHA256-CRYPT"):
        match = re.match(r"\$[56]\$rounds=(\d{1,9})\$", data)
        return 1.0 * (int(match[1]) if match else 5000)
    if scheme in scram.SCHEMES:
        match = re.match(r"(\d{1,8}),", data)
        return 0.3 * int(match[1]) if match else 0.0
    if scheme == "PBKDF2":
        match = re.match(r"\$1\$[^$]*\$(\d{1,8})\$", data)
        return 0.5 * int(match[1]) if match else 0.0
    return {"MD5-CRYPT": 1000.0, "DES-CRYPT": 500.0}.get(scheme, 1.0 if scheme in _DIGESTS else 0.5)


def make(password: bytes, scheme: str = "ARGON2ID") -> str:
    """Hash a new password, scheme in front; raises ValueError for what cannot be written."""
    match scheme:
        case "ARGON2ID":
            return "{ARGON2ID}" + str(handlers.argon2.using(type="ID").hash(password))
        case "BLF-CRYPT":
            if len(password) > _BCRYPT_LIMIT_OCTETS:
                raise ValueError(
                    f"BLF-CRYPT looks at the first {_BCRYPT_LIMIT_OCTETS} octets only; take another scheme"
                )
            return "{BLF-CRYPT}" + str(handlers.bcrypt.hash(password))
        case "SHA512-CRYPT":
            return "{SHA512-CRYPT}" + str(handlers.sha512_crypt.hash(password))
        case "SHA256-CRYPT":
            return "{SHA256-CRYPT}" + str(handlers.sha256_crypt.hash(password))
        case "SCRAM-SHA-256":
            return scram.make(scheme, password)
        case "SSHA512":
            salt = os.urandom(16)
            made = hashlib.sha512(password + salt).digest() + salt
            return "{SSHA512}" + base64.b64encode(made).decode("ascii")
        case "SSHA":
            return str(handlers.ldap_salted_sha1.hash(password))
        case "PLAIN":
            # A colon or a line end would be another field or another user.
            if re.fullmatch(rb"[\x21-\x39\x3b-\x7e]+", password):
                return "{PLAIN}" + password.decode("ascii")
            return "{PLAIN.B64}" + base64.b64encode(password).decode("ascii")
    raise ValueError(f"the scheme {scheme} is not written; choose one of {', '.join(WRITTEN)}")
