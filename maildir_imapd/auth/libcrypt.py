"""Hashes that only the system's crypt(3) knows: yescrypt, which Linux writes today, scrypt, and those of other systems.

Which of them there are is a matter of the system's libcrypt.  It is loaded, and each method tried, at the first such
hash or by ``load``: to find a library runs programs, which a process that serves mail must not (docs/rules.md, S18).

A password that is no UTF-8, has a NUL in it or is longer than 511 octets fits none of these hashes.
"""

from __future__ import annotations

import hmac
import re
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

Crypt = Callable[[str, str], "str | None"]

# What each method is tried with, as cheap as it can be.
TRIED: Final = "tried"
# crypt(3) takes no longer password.
_LONGEST_OCTETS: Final = 511
# Bounded: a line of the file must not be able to stop the server.
_LONGEST_MICROSECONDS: Final = 60e6
_DIGITS: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_B: Final = "[./0-9A-Za-z]"


@dataclass(frozen=True, slots=True)
class Method:
    """One way to hash, as crypt(5) writes it.

    *cheapest* is a setting to try it with; *microseconds* is about how long a hash takes, by the groups of *form*.
    """

    beginning: str
    form: re.Pattern[str]
    cheapest: str
    microseconds: Callable[[tuple[str, ...]], float]


def _log2(digit: str) -> float:
    return 2.0 ** _DIGITS.index(digit)


def _number(digits: str) -> int:
    """Read a number whose lowest digit comes first."""
    return sum(_DIGITS.index(digit) << 6 * place for place, digit in enumerate(digits))


def _yescrypt(groups: tuple[str, ...]) -> float:
    return 0.13 * 2 * _log2(groups[0]) * (_DIGITS.index(groups[1]) + 1)


def _scrypt(groups: tuple[str, ...]) -> float:
    return 0.23 * _log2(groups[0]) * _number(groups[1]) * _number(groups[2])


def _method(form: str, cheapest: str, microseconds: Callable[[tuple[str, ...]], float]) -> Method:
    beginning = re.match(r"\$[a-z0-9]+|_", cheapest)
    assert beginning is not None
    return Method(beginning[0], re.compile(form, re.ASCII), cheapest, microseconds)


_METHODS: Final = (
    _method(rf"\$y\$[./j-k]({_B})({_B}){_B}*\${_B}{{0,86}}\${_B}{{43}}", "$y$j75$maildiri$", _yescrypt),
    _method(rf"\$gy\$[./j-k]({_B})({_B}){_B}*\${_B}{{0,86}}\${_B}{{43}}", "$gy$j75$maildiri$", _yescrypt),
    _method(rf"\$sm3y\$[./j-k]({_B})({_B}){_B}*\${_B}{{0,86}}\${_B}{{43}}", "$sm3y$j75$maildiri$", _yescrypt),
    _method(rf"\$7\$({_B})({_B}{{5}})({_B}{{5}}){_B}{{0,86}}\${_B}{{43}}", "$7$4/..../....maildir$", _scrypt),
    _method(
        rf"\$2x\$([0-3][0-9])\${_B}{{53}}",
        "$2x$04$maildirimapdmaildirimu",
        lambda groups: 60.0 * 2 ** min(int(groups[0]), 31),
    ),
    _method(
        rf"\$sha1\$([1-9][0-9]{{0,9}})\${_B}{{1,64}}\${_B}{{28}}",
        "$sha1$1$maildiri$",
        lambda groups: 0.7 * int(groups[0]),
    ),
    _method(
        rf"\$md5(?:,rounds=([1-9][0-9]{{0,9}}))?\${_B}{{1,32}}\${{1,2}}{_B}{{22}}",
        "$md5$maildiri$",
        lambda groups: 5000.0 + 1.3 * int(groups[0] or 0),
    ),
    _method(
        rf"\$sm3\$(?:rounds=([1-9][0-9]{{0,8}})\$)?{_B}{{1,16}}\${_B}{{43}}",
        "$sm3$rounds=1000$maildiri$",
        lambda groups: 1.0 * int(groups[0] or 5000),
    ),
    _method(r"\$3\$\$[0-9a-f]{32}", "$3$$", lambda groups: 1.0),
    _method(rf"_({_B}{{4}}){_B}{{15}}", "_/...mail", lambda groups: 0.13 * _number(groups[0])),
)

# A password of each method that has been there for long, and what crypt(3) makes of it.
SAMPLES: Final = (
    "$y$j75$maildiri$TjTtUs4/dZ4mKpUlwWAGDzixpfClQYwUt1GLhzY/Rb5",
    "$gy$j75$maildiri$jVBrgV2mE63930rt8Lo1V1Yoagklz1YgbD84AhW/2F.",
    "$7$4/..../....maildir$JceZBTEE/F2iXzeAGi9KkiDvE5540qfpACRxF5Wkkh4",
    "$2x$04$maildirimapdmaildirimukh7Th9nS7FSYkrZLE7Hdf0kRatiDLKi",
    "$sha1$1$maildiri$8l8QeYufYri7o2qPviF14Nx6kVVK",
    "$md5$maildiri$$PGa3zqcnE5dcupJPYeoeQ.",
    "$3$$4faddc1c8a54fa10312d04a4ab32ec8e",
    "_/...mailrqD2sG1vPFw",
)


if sys.version_info < (3, 13):

    def _pythons_own() -> Crypt | None:
        """Return crypt(3) as Python has it until 3.12; no other thread runs while it hashes."""
        try:
            with warnings.catch_warnings():
                # That it goes with 3.13 is no news: Debian has the library from there on.
                warnings.simplefilter("ignore", DeprecationWarning)
                import crypt
        except ImportError:
            return None
        return crypt.crypt

else:

    def _pythons_own() -> Crypt | None:
        """Return None: Python has crypt(3) no more."""
        return None


@cache
def _library() -> Crypt | str:
    """Load the library, once; where it is not there, say why not."""
    try:
        import legacycrypt
    except (ImportError, OSError, AttributeError) as error:
        return _pythons_own() or str(error)
    crypt: Crypt = legacycrypt.crypt
    if getattr(legacycrypt, "_crypt_r_func", None) is not None:
        return crypt
    # crypt(3) of old keeps its answer in one place for all threads.
    lock = threading.Lock()

    def one_at_a_time(password: str, setting: str) -> str | None:
        with lock:
            return crypt(password, setting)

    return one_at_a_time


def _crypt(password: str, setting: str) -> str | None:
    """Hash *password*; None for what crypt(3) cannot do, which it says by None or by what can be no hash, as "*0"."""
    library = _library()
    if isinstance(library, str):
        return None
    made = library(password, setting)
    return made if made and not made.startswith("*") else None


@cache
def _can(method: Method) -> bool:
    """Whether the library has the method.  It is asked once, with the cheapest setting there is."""
    made = _crypt(TRIED, method.cheapest)
    return made is not None and made.startswith(method.cheapest) and method.form.fullmatch(made) is not None


def _of(stored: str) -> tuple[Method, float] | None:
    """The method of a hash, as far as it is written right, and about how many microseconds it takes."""
    for method in _METHODS:
        if match := method.form.fullmatch(stored):
            return method, method.microseconds(match.groups(""))
    return None


def demand(stored: str) -> bool:
    """Say whether it is a hash of these; raises ValueError for one that cannot be checked here.  Hashes nothing."""
    found = _of(stored)
    if found is None:
        return False
    method, microseconds = found
    library = _library()
    if isinstance(library, str):
        raise ValueError(f"crypt hashes that begin with {method.beginning} need the library libcrypt: {library}")
    if not _can(method):
        raise ValueError(f"this system's crypt(3) does not know hashes that begin with {method.beginning}")
    if microseconds > _LONGEST_MICROSECONDS:
        raise ValueError("to check it once would take more than a minute")
    return True


def verify(stored: str, password: bytes) -> bool:
    """Say whether *password* fits; raises ValueError for a hash that cannot be checked here."""
    if not demand(stored):
        raise ValueError("not a hash of crypt(3)")
    if b"\0" in password or len(password) > _LONGEST_OCTETS:
        return False
    try:
        made = _crypt(password.decode(), stored)
    except UnicodeDecodeError:
        return False
    if made is None:
        raise ValueError("crypt(3) does not take this hash")
    return hmac.compare_digest(made.encode(), stored.encode())


def cost(stored: str) -> float:
    """About how many microseconds it takes to check a password against *stored*; 0 for what is no hash of these."""
    found = _of(stored)
    return found[1] if found is not None else 0.0


def load() -> list[tuple[str, str]]:
    """Load the library and try it with each method that it knows; return what cannot be used, with why."""
    library = _library()
    if isinstance(library, str):
        return [("CRYPT", f"{library}; hashes of yescrypt, scrypt and the like cannot be checked")]
    failed = []
    for sample in SAMPLES:
        found = _of(sample)
        assert found is not None
        if _can(found[0]) and not verify(sample, TRIED.encode()):
            failed.append((f"CRYPT {found[0].beginning}", "a right password is wrong to it"))
    for method in _METHODS:
        _can(method)
    return failed
