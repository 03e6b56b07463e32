"""Whether a mount can be trusted with mail that several hosts serve: tried, from one host or from two, and told.

Each finding has a key that does not change. What fails would lose mail or show it wrong; what is only noted costs time.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.location import grounds
from maildir_imapd.server import settings
from maildir_imapd.store.disk import filesystems
from maildir_imapd.store.records import hosts
from maildir_imapd.store.trying import RECORD_OCTETS, Actor, mount

if TYPE_CHECKING:
    from maildir_imapd.config import Config

log = Log(__name__)

Result = Literal["ok", "note", "fails"]

# Records that each of the two appends under the lock, and files that both want to make.
RECORDS: Final = 100
RACES: Final = 40
# How often something is changed and looked at on the other side.
ROUNDS: Final = 5
SPEED_CALLS: Final = 20
# Seconds by which clocks may be apart: stamps of directories are believed after two minutes.
CLOCK_NOTED, CLOCK_WRONG = 2.0, 100.0
_BEGINNING: Final = ".maildir-imapd-check."
# Times of files are looked at until they have changed so often, or for so many seconds. Kernels change them every 1 to
# 10 ms; what is coarser is told.
CLOCK_CHANGES: Final = 5
CLOCK_SECONDS: Final = 5.0
COARSE_NS: Final = 20_000_000
# Seconds within which inotify hears of what it hears of at all.
HEARD_SECONDS: Final = 2.0

# What there is to be changed, by what is mounted and the keys that fail.
_GLUSTER_VOLUME: Final = (
    "gluster volume set VOLUME NAME VALUE, for: performance.write-behind off, performance.stat-prefetch off, "
    "performance.quick-read off, performance.io-cache off, performance.read-ahead off, performance.readdir-ahead off, "
    "performance.open-behind off, cluster.eager-lock off, client.strict-locks on"
)
_GLUSTER_MOUNT: Final = (
    "mount -t glusterfs -o attribute-timeout=0,entry-timeout=0,negative-timeout=0,auto-invalidation=on"
)
ADVICE: Final[dict[str, tuple[str, ...]]] = {
    "fuse.glusterfs": (_GLUSTER_MOUNT, _GLUSTER_VOLUME),
    "nfs": (
        "mount -t nfs -o vers=4.2,hard,actimeo=1,lookupcache=positive; never nolock or local_lock, nor NFS 3 or 2",
        "where names stay stale all the same: noac, lookupcache=none (each look is a question to the server)",
    ),
    "nfs4": (
        "mount -t nfs -o vers=4.2,hard,actimeo=1,lookupcache=positive; never nolock or local_lock",
        "where names stay stale all the same: noac, lookupcache=none (each look is a question to the server)",
    ),
    "ceph": ("the kernel's client with its defaults; not recover_session=clean, which drops locks without a word",),
    "fuse.ceph-fuse": ("ceph-fuse with client_acl_type and caches as they are; fuse_disable_pagecache = true",),
    "cifs": ("mount -t cifs -o cache=none,actimeo=0,serverino,nobrl must not be there; better: NFS",),
    "smb3": ("mount -t smb3 -o cache=none,actimeo=0,serverino; nobrl must not be there; better: NFS",),
    "9p": ("mount -t 9p -o cache=none; its locks reach other guests only where the host passes them on; better: NFS",),
    "fuse": ("attribute, entry and negative timeouts 0, no writeback cache, locks passed on to the server",),
}


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was tried: its key, what has come of it, and in words."""

    key: str
    result: Result
    words: str


class Hand(Protocol):
    """One of the two that act."""

    def do(self, what: str, *given: Any) -> Any:
        """As ``Actor.do``."""


class Other(Hand, Protocol):
    """The one that is elsewhere; raises ConfigError where nobody answers."""

    def begin(self, what: str, *given: Any) -> None:
        """Ask, and do not wait."""

    def end(self) -> Any:
        """Wait for the answer."""


def serve_other(path: str, lines: Iterator[str], say: Any) -> None:
    """Be the other one: do what each line asks for, and say what has come of it."""
    actor = Actor(os.fsencode(path))
    try:
        for line in lines:
            what, *given = json.loads(line)
            say(json.dumps(actor.do(what, *given)))
    finally:
        actor.close()


@contextmanager
def place(path: str) -> Iterator[str]:
    """Make a directory for what is tried, and remove it with all that is in it; raises OSError."""
    made = tempfile.mkdtemp(prefix=_BEGINNING, dir=path)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def advice(kind: str) -> tuple[str, ...]:
    """Return what to change of a mount of this type."""
    return ADVICE.get(kind) or ADVICE.get(kind.partition(".")[0]) or ()


# --- before it is served ------------------------------------------------------------------------------


def demand_trusted(config: Config) -> None:
    """Raise ConfigError where all users' mail is on a shared spool that one host alone can tell is none to be served.

    Where no directory is above it all, or nothing can be made in it, there is a line in the log at the most.
    """
    mail = settings.mail(config)
    path = _above(mail.location)
    if path is None or not filesystems.is_shared_path(os.fsencode(path), mail.keeping.shared_spool):
        return
    kind = kind_of(path)
    try:
        why = hosts.note(os.fsencode(path), hosts.own())
        if why is not None:
            raise ConfigError(why)
        found = alone(path) if config.check_spool else []
    except OSError as error:
        log.warning("shared spool not tried", path=path, kind=kind, why=error)
        return
    wrong = [each.words for each in found if each.result == "fails"]
    if wrong:
        raise ConfigError(
            f"{path} cannot be trusted with mail that several hosts serve: {'; '.join(wrong)} (maildir-imapd "
            "check-spool says what to change; check_spool = no serves it all the same)"
        )
    log.info("spool is shared with other hosts", path=path, kind=kind)


def _above(location: str) -> str | None:
    """The directory that is above the mail of all users; None where there is none, or it is not there."""
    try:
        (ground, *_) = grounds(location, "user", None)
    except (ConfigError, ValueError):
        return None
    return os.fsdecode(ground.above) if os.path.isdir(ground.above) else None


# --- one host -------------------------------------------------------------------------------------


def alone(path: str) -> list[Tried]:
    """Try what one host can try by itself; raises OSError where nothing can be made there."""
    with place(path) as made:
        actor = Actor(os.fsencode(made))
        second = Actor(os.fsencode(made))
        try:
            return [*_of_mount(actor.do("who")), *_of_one(actor, second)]
        finally:
            actor.close()
            second.close()


def _of_mount(who: dict[str, Any]) -> Iterator[Tried]:
    """Say what is wrong with the options of a mount, as far as they can be seen."""
    options = set(str(who.get("options", "")).split(","))
    kind = str(who.get("type", ""))
    wrong: list[str] = []
    if kind.startswith("nfs"):
        wrong = sorted(each for each in options if each == "nolock" or each.startswith("local_lock="))
        wrong = [each for each in wrong if each != "local_lock=none"]
    elif kind in ("cifs", "smb3"):
        wrong = sorted(options & {"nobrl", "noserverino", "cache=loose"})
    elif kind == "9p":
        wrong = sorted(options & {"cache=loose", "cache=fscache", "cache=mmap"})
    elif kind == "fuse.glusterfs":
        told = [each for each in options if "-timeout=" in each]
        for name in ("attribute-timeout", "entry-timeout"):
            if told and f"{name}=0" not in options:
                wrong.append(next((each for each in told if each.startswith(name)), f"no {name}=0"))
        if "volfile-server" in str(who["options"]) and not told:
            wrong = ["no attribute-timeout=0", "no entry-timeout=0"]
    words = f"{who.get('source')} is mounted at {who.get('at')} as {kind}"
    yield Tried("mount", "fails" if wrong else "ok", words + (f" with {', '.join(wrong)}" if wrong else ""))


def _of_one(actor: Hand, second: Hand) -> Iterator[Tried]:
    locked = [actor.do("lock", "alone-lock", "flock"), second.do("lock", "alone-lock", "flock")]
    actor.do("release", "alone-lock")
    yield _judge("flock", locked == [True, False], "a lock (flock) has one holder", locked)
    actor.do("write", "alone", "one")
    won = [actor.do("exclusive", "alone-x", 1), second.do("exclusive", "alone-x", 1)]
    yield _judge("exclusive", won == [[0], []], "a file that must not be there is made once", won)
    named = actor.do("rename", "alone", "alone-2"), second.do("rename", "alone-x0", "alone-2")
    yield _judge("rename", named == (True, False), "no rename goes over another file", named)
    actor.do("put", "alone-2", "two")
    read = second.do("read", "alone-2")
    yield _judge("replace", read == "two", "a file that takes another's place is read", read)


def _judge(key: str, good: bool, words: str, found: object = None, otherwise: Result = "fails") -> Tried:
    return Tried(key, "ok" if good else otherwise, words if good else f"{words}: {found}")


# --- two hosts ------------------------------------------------------------------------------------


def both(made: str, there: Other) -> list[Tried]:
    """Try all in a directory that was made for it, with an other side; raises ConfigError."""
    here = Actor(os.fsencode(made))
    try:
        return list(together(here, there))
    finally:
        here.close()


def kind_of(path: str) -> str:
    """Return the type of the file system at *path*, as mount(8) has it."""
    return mount(os.fsencode(path)).get("type", "")


def together(here: Actor, there: Other) -> Iterator[Tried]:
    """Let both act in turns, and at once; yield what is found."""
    who = here.do("who")
    began = time.time()
    other = there.do("who")
    ended = time.time()
    yield from _of_mount(who)
    if isinstance(other, dict) and "error" in other:
        raise ConfigError(f"the other side cannot act in the same directory: {other['error']}; is it the same spool?")
    yield from _of_hosts(who, other, (began, ended))
    here.do("write", "hello", "hello")
    if there.do("read", "hello") != "hello":
        yield Tried("same", "fails", "the other side does not see what is written here: it is not the same spool")
        return
    yield _locks(here, there, "flock", "fails")
    yield _locks(here, there, "fcntl", "note")
    yield _appends(here, there)
    yield from _freshness(here, there)
    yield _exclusive(here, there)
    yield from _names(here, there)
    yield from _times(here)
    yield _inotify(here, there)
    for side, hand in (("here", here), ("there", there)):
        speed = hand.do("speed", SPEED_CALLS)
        yield Tried(f"speed {side}", "note", ", ".join(f"{what} {ms} ms" for what, ms in speed.items()))


def _of_hosts(who: dict[str, Any], other: dict[str, Any], asked: tuple[float, float]) -> Iterator[Tried]:
    """Compare names and clocks; the other one looked at its clock between the two times of *asked*, here."""
    began, ended = asked
    apart = max(0.0, began - float(other["time"]), float(other["time"]) - ended)
    result: Result = "ok" if apart < CLOCK_NOTED else "note" if apart < CLOCK_WRONG else "fails"
    yield Tried("clock", result, f"the clocks are {apart:.1f} s apart")
    if who["boot"] != other["boot"]:
        words = f"one is called {who['host']}, the other {other['host']}"
        yield _judge("host", who["host"] != other["host"], words, "hosts with one name may make one name twice")


def _locks(here: Actor, there: Other, kind: str, otherwise: Result) -> Tried:
    name = f"lock-{kind}"
    got = [here.do("lock", name, kind), there.do("lock", name, kind)]
    here.do("release", name)
    got.append(there.do("lock", name, kind))
    there.do("release", name)
    return _judge(kind, got == [True, False, True], f"a lock ({kind}) of one is one for the other", got, otherwise)


def _appends(here: Actor, there: Other) -> Tried:
    here.do("write", "journal", "")
    there.begin("append", "journal", "b", RECORDS)
    mine: list[Any] = []
    thread = Thread(target=lambda: mine.append(here.do("append", "journal", "a", RECORDS)))
    thread.start()
    theirs = there.end()
    thread.join()
    text = str(here.do("read", "journal"))
    records = {text[at : at + RECORD_OCTETS] for at in range(0, len(text), RECORD_OCTETS)}
    expected = {f"{word}{n:06}".ljust(RECORD_OCTETS - 1) + "\n" for word in "ab" for n in range(RECORDS)}
    trouble = [each for each in (mine[0] if mine else None, theirs) if each is not None]
    words = f"{len(records & expected)} of {2 * RECORDS} records that both append under the lock are there"
    return _judge("append", not trouble and records == expected, words, trouble or f"{len(text)} octets")


def _freshness(here: Actor, there: Other) -> Iterator[Tried]:
    """Change something on one side, of which the other has just had a look, and look again."""
    stale: dict[str, int] = dict.fromkeys(("size", "plain", "read", "listing", "name", "gone", "place", "stamp"), 0)
    for n in range(ROUNDS):
        name, absent = f"fresh-{n}", f"later-{n}"
        here.do("write", name, "x")
        there.do("size", name), there.do("size_anew", name), there.do("read", name)
        there.do("names"), there.do("there", absent)
        before = there.do("stamp")
        here.do("write", name, "xx" * (n + 1))
        stale["size"] += there.do("size_anew", name) != 2 * (n + 1)
        stale["plain"] += there.do("size", name) != 2 * (n + 1)
        stale["read"] += there.do("read", name) != "xx" * (n + 1)
        here.do("write", absent, "y")
        stale["listing"] += absent not in there.do("names")
        stale["name"] += there.do("read", absent) != "y"
        stale["stamp"] += there.do("stamp") == before
        here.do("put", name, "put")
        stale["place"] += there.do("read", name) != "put"
        here.do("unlink", absent)
        stale["gone"] += there.do("read", absent) != {"error": "ENOENT"}
    for key, words in (
        ("size", "the size of a file is that of now"),
        ("read", "what is read of a file is what the other has written"),
        ("listing", "a name that the other has made is listed"),
        ("name", "a name that the other has made can be opened"),
        ("place", "a file that has taken another's place is what is opened"),
        ("gone", "a name that the other has removed is gone"),
        ("stamp", "a directory in which the other has made a name has another time"),
    ):
        yield _judge(key, not stale[key], words, f"not in {stale[key]} of {ROUNDS} tries")
    if stale["plain"] and not stale["size"]:
        yield Tried("attributes", "note", "attributes are kept for a while; programs that do not ask see old sizes")


def _exclusive(here: Actor, there: Other) -> Tried:
    there.begin("exclusive", "race-", RACES)
    mine = here.do("exclusive", "race-", RACES)
    theirs = there.end()
    good = isinstance(mine, list) and isinstance(theirs, list) and sorted([*mine, *theirs]) == list(range(RACES))
    return _judge("exclusive", good, f"of {RACES} files that both want to make each was made once", [mine, theirs])


def _names(here: Actor, there: Other) -> Iterator[Tried]:
    here.do("write", "source", "a")
    there.do("write", "taken", "b")
    linked = [here.do("link", "source", "second"), there.do("link", "taken", "second"), there.do("read", "second")]
    yield _judge("link", linked == [True, False, "a"], "a second name is seen, and not taken twice", linked, "note")
    renamed = [here.do("rename", "source", "taken"), here.do("rename", "source", "moved"), there.do("read", "moved")]
    renamed.append(there.do("read", "source"))
    expected = [False, True, "a", {"error": "ENOENT"}]
    yield _judge("rename", renamed == expected, "a rename is seen, and goes over no file", renamed)
    if here.do("rename_flag") is not True:
        yield Tried("noreplace", "note", "a rename takes two calls: the file system has none that refuses a taken name")
    here.do("put", "held", "old")
    there.do("hold", "held")
    here.do("put", "held", "new")
    held, anew = there.do("read_held", "held"), there.do("read", "held")
    yield _judge("held", anew == "new", "a file that was open when another took its place is opened anew", anew)
    if held not in ("old", {"error": "ESTALE"}):
        yield Tried("descriptor", "note", f"an open file that lost its name is read as {held}")


def _times(here: Actor) -> Iterator[Tried]:
    times = here.do("times", CLOCK_CHANGES, CLOCK_SECONDS)
    grain = min((b - a for a, b in pairwise(times) if b > a), default=None)
    whole = all(each % 1_000_000_000 == 0 for each in times)
    result: Result = "note" if whole or grain is None or grain > COARSE_NS else "ok"
    words = "whole seconds" if whole else f"{grain} ns" if grain is not None else f"more than {CLOCK_SECONDS} s"
    yield Tried("grain", result, f"times of files have a grain of {words}")


def _inotify(here: Actor, there: Other) -> Tried:
    there.do("watch")
    here.do("write", "heard", "")
    heard = there.do("heard", HEARD_SECONDS) is True
    words = "inotify hears the other" if heard else "inotify does not hear the other: folders are looked at instead"
    return Tried("inotify", "ok" if heard else "note", words)
