"""Hashes of crypt(3), which libxcrypt 4.4 made of one password, and what becomes of them without it."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from maildir_imapd.auth import libcrypt, schemes

PASSWORD = "Grüße 1".encode()

VECTORS = """\
$y$j9T$FVaGqvPFgoVGjzZ1$.248ku3K32Va.n3t8ICJjjS/MwdqwXqrREgtTX3wN07
$gy$j75$abcdefgh$LktbmkgBCDhe0HGHXFry3zTR0Jww4w2qIEmXE4l/gs1
$7$4/..../....abcdefgh$EZNrr.Ft473a9j86jJy0gb71CL8G595IYSCrVsaMhaB
$2x$04$abcdefghijklmnopqrstuuc64Qo198uV3ikR85ZTeLSVisagZyyma
$sha1$1000$abcdefgh$SJk9bE6aDUmd7Fvsh/4D0cc2jQww
$md5,rounds=10$abcdefgh$$SPvlWlJ3LzFrVr5OH7MRQ.
$md5$abcdefgh$$6EBssen2osk2u4VP9XPR6.
$3$$874fdea2efbb4e71b87bff5b69d0f125
_J9..abcdIDUoqPl9pK2
""".splitlines()
YESCRYPT = VECTORS[0]


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    """What is known of the library is kept for good; each test finds out for itself."""
    libcrypt._library.cache_clear()
    libcrypt._can.cache_clear()
    yield
    libcrypt._library.cache_clear()
    libcrypt._can.cache_clear()


def stand_in(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    monkeypatch.setitem(sys.modules, "legacycrypt", SimpleNamespace(**names))


@pytest.mark.parametrize("stored", VECTORS, ids=lambda stored: stored[:6])
@pytest.mark.parametrize("scheme", ["", "{CRYPT}", "{crypt}"])
def test_a_hash(scheme: str, stored: str) -> None:
    assert schemes.split(scheme + stored)[0] == "CRYPT"
    assert schemes.verify(scheme + stored, PASSWORD)
    assert not schemes.verify(scheme + stored, b"x" + PASSWORD)
    assert not schemes.verify(scheme + stored, b"")


@pytest.mark.parametrize(
    "password", [PASSWORD + b"\0", PASSWORD + b"\0x", b"\xff\xfe", PASSWORD.decode().encode("latin-1"), b"x" * 10_000]
)
def test_passwords_that_fit_nothing(password: bytes) -> None:
    """C ends a password at a NUL, and the library takes text."""
    for stored in VECTORS:
        assert not libcrypt.verify(stored, password)


@pytest.mark.parametrize(
    "stored",
    [
        "*0",
        "*1",
        "",
        "$y$",
        "$y$j9T$FVaGqvPFgoVGjzZ1$",
        YESCRYPT[:-1],
        YESCRYPT + "x",
        YESCRYPT + "\n",
        "$nosuch$abc$def",
        "$2x$04$short",
    ],
)
def test_what_is_no_hash_is_refused(stored: str) -> None:
    assert not libcrypt.demand(stored)
    for whole in (stored, "{CRYPT}" + stored):
        with pytest.raises(ValueError):
            schemes.split(whole)
    with pytest.raises(ValueError):
        libcrypt.verify(stored, b"")


@pytest.mark.parametrize("answer", [None, "*0", "*1", ""])
def test_a_library_without_the_method(answer: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """crypt(3) says so by what is no hash; it must never be compared."""
    stand_in(monkeypatch, crypt=lambda password, setting: answer)
    with pytest.raises(ValueError, match=r"crypt\(3\) does not know hashes that begin with \$y"):
        schemes.split(YESCRYPT)
    with pytest.raises(ValueError):
        schemes.verify("{CRYPT}" + YESCRYPT, PASSWORD)
    assert libcrypt.load() == []


def test_an_error_for_one_hash_is_no_match(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method is there, and this hash is wrong inside of what can be seen."""
    sample = libcrypt.SAMPLES[0]
    stand_in(monkeypatch, crypt=lambda password, setting: sample if setting == "$y$j75$maildiri$" else "*0")
    assert libcrypt.demand(YESCRYPT)
    with pytest.raises(ValueError, match="does not take this hash"):
        libcrypt.verify(YESCRYPT, PASSWORD)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python has no crypt of its own any more")
def test_without_the_library_python_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "legacycrypt", None)
    libcrypt._library.cache_clear()
    try:
        assert all(libcrypt.verify(stored, libcrypt.TRIED.encode()) for stored in libcrypt.SAMPLES[:1])
        assert not libcrypt.verify(libcrypt.SAMPLES[0], b"wrong")
    finally:
        libcrypt._library.cache_clear()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs those hashes, and nothing else; programs are run for it once."""
    really = builtins.__import__
    asked = []

    def no_libcrypt(name: str, *args: Any, **kwargs: Any) -> Any:
        if name in ("legacycrypt", "crypt"):
            asked.append(name)
            raise ImportError("libcrypt / libxcrypt missing")
        return really(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_libcrypt)
    for _ in range(3):
        with pytest.raises(ValueError, match="libcrypt / libxcrypt missing"):
            schemes.split(YESCRYPT)
    ((scheme, why),) = schemes.load()
    assert scheme == "CRYPT"
    assert "libcrypt / libxcrypt missing" in why
    assert schemes.verify("{SHA}xIMrNkS7UhMH5SJPSo8D0d7aYxg=", b"tried")
    assert asked.count("legacycrypt") == 1


def test_a_library_with_one_place_for_all_is_asked_by_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []

    class Noted:
        def __enter__(self) -> None:
            happened.append("taken")

        def __exit__(self, *_: object) -> None:
            happened.append("given back")

    def crypt(password: str, setting: str) -> str:
        happened.append(setting)
        return setting

    stand_in(monkeypatch, crypt=crypt, _crypt_r_func=None)
    monkeypatch.setattr(libcrypt, "threading", SimpleNamespace(Lock=Noted))
    assert libcrypt._crypt("x", "y") == "y"
    assert happened == ["taken", "y", "given back"]
    libcrypt._library.cache_clear()
    stand_in(monkeypatch, crypt=crypt, _crypt_r_func=object())
    assert libcrypt._crypt("x", "z") == "z"
    assert happened[3:] == ["z"]


def test_a_library_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {"$y$j75$maildiri$": libcrypt.SAMPLES[0]}
    stand_in(monkeypatch, crypt=lambda password, setting: samples.get(setting, "x"))
    assert libcrypt.load() == [("CRYPT $y", "a right password is wrong to it")]


def test_every_sample_fits() -> None:
    assert libcrypt.load() == []
    assert {libcrypt._of(sample) is not None for sample in libcrypt.SAMPLES} == {True}


def test_what_it_costs() -> None:
    order = [
        "_/...mailrqD2sG1vPFw",
        "$sha1$1000$abcdefgh$SJk9bE6aDUmd7Fvsh/4D0cc2jQww",
        "$md5$abcdefgh$$6EBssen2osk2u4VP9XPR6.",
        "$2x$07$abcdefghijklmnopqrstuuc64Qo198uV3ikR85ZTeLSVisagZyyma",
        YESCRYPT,
        "$7$CU..../....abcdefgh$EZNrr.Ft473a9j86jJy0gb71CL8G595IYSCrVsaMhaB",
    ]
    costs = [schemes.cost("{CRYPT}" + stored) for stored in order]
    assert costs == sorted(costs)
    assert len(set(costs)) == len(costs)
    assert 10_000 < schemes.cost(YESCRYPT) < 30_000
    assert libcrypt.cost("$nosuch$x") == 0


@pytest.mark.parametrize(
    "stored",
    [
        "$y$jzT$FVaGqvPFgoVGjzZ1$.248ku3K32Va.n3t8ICJjjS/MwdqwXqrREgtTX3wN07",
        "$7$zzzzzzzzzzzabcdefgh$EZNrr.Ft473a9j86jJy0gb71CL8G595IYSCrVsaMhaB",
        "$sha1$4294967295$abcdefgh$SJk9bE6aDUmd7Fvsh/4D0cc2jQww",
        "$2x$31$abcdefghijklmnopqrstuuc64Qo198uV3ikR85ZTeLSVisagZyyma",
        "$md5,rounds=4294967295$abcdefgh$$SPvlWlJ3LzFrVr5OH7MRQ.",
    ],
)
def test_one_that_would_stop_the_server(stored: str) -> None:
    with pytest.raises(ValueError, match="more than a minute"):
        schemes.verify(stored, b"x")


LATER = """
import sys
from maildir_imapd.auth import libcrypt, schemes
assert "legacycrypt" not in sys.modules
schemes.load()
started = []
LATE = ("subprocess.Popen", "os.exec", "ctypes.dlopen")
sys.addaudithook(lambda event, _: started.append(event) if event in LATE else None)
before = set(sys.modules)
for sample in libcrypt.SAMPLES:
    assert schemes.verify(sample, b"tried"), sample
    assert not schemes.verify(sample, b"wrong"), sample
assert not started, started
assert set(sys.modules) == before
"""


def test_nothing_is_loaded_or_run_late() -> None:
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
