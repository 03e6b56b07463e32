"""Confinement of a process before it hears a client: no capabilities, new rights, memory without end, other files.

Each function is called after the fork and before the first thread, for most of this belongs to a thread and goes to
those that it starts. Where the kernel has no landlock that is left out, with a line in the log; the rest must work.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import maildir_imapd
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.location import Location, expand, parse
from maildir_imapd.store.disk.descriptors import Descriptor

if TYPE_CHECKING:
    from maildir_imapd.auth.base import Identity
    from maildir_imapd.server.accounts import Mail
    from maildir_imapd.store.maildir.layout import Places

log = Log(__name__)

SETGID: Final = 6
SETUID: Final = 7

_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_CAPABILITY_VERSION: Final = 0x20080522  # two words of 32 capabilities

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Confinement:
    """The things that a process which serves mail is to give up, as the settings of these names say."""

    drop_capabilities: bool
    no_new_privs: bool
    landlock: bool
    core_dumps: bool
    memory_limit: int | None
    """Octets."""
    reads: tuple[str, ...]
    """Files beside the mail that it reads, also when another has taken their place."""
    log_file: str | None
    writes: tuple[str, ...] = ()
    """Files beside the mail that it writes, in directories of theirs."""


def _prctl(what: int, value: int = 0) -> int:
    zero = ctypes.c_ulong(0)
    return int(_libc.prctl(ctypes.c_int(what), ctypes.c_ulong(value), zero, zero, zero))


def drop_capabilities(keep: Iterable[int] = ()) -> None:
    """Have no capability but those of *keep*, for good; raises ConfigError.

    Root's reserve of the disk and the limit of a quota hold for whoever has not CAP_SYS_RESOURCE, and the modes of
    files for whoever has not CAP_DAC_OVERRIDE.
    """
    kept = frozenset(keep)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while (there := _prctl(_PR_CAPBSET_READ, number)) >= 0:
        if there and number not in kept and _prctl(_PR_CAPBSET_DROP, number) < 0 and os.geteuid() == 0:
            break  # a root that may not: what it has it loses all the same
        number += 1
    bits = sum(1 << capability for capability in kept)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0), 8)
    # Effective, permitted, inheritable, for the lower and the upper 32.
    data = ctypes.create_string_buffer(24)
    if _libc.capget(header, data) == 0:
        bits &= struct.unpack("=6I", data.raw)[1]  # a root in a container may have less
    data = ctypes.create_string_buffer(struct.pack("=6I", bits, bits, 0, 0, 0, 0), 24)
    if _libc.capset(header, data) < 0:
        why = os.strerror(ctypes.get_errno())
        raise ConfigError(f"cannot give up capabilities: {why}; drop_capabilities = false goes on with them")


def no_new_privileges() -> None:
    """Let no program that is run get more rights than this process; raises ConfigError."""
    zero = ctypes.c_ulong(0)
    if _libc.prctl(ctypes.c_int(_PR_SET_NO_NEW_PRIVS), ctypes.c_ulong(1), zero, zero, zero) < 0:
        raise ConfigError(f"no_new_privs: {os.strerror(ctypes.get_errno())}")


def set_limits(limits: Confinement) -> None:
    """Leave no core behind, and have at most so much memory of its own, as *limits* says; raises ConfigError.

    A core has everybody's mail in it, and passwords.
    """
    if not limits.core_dumps:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.memory_limit is not None:
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory_limit, limits.memory_limit))
        except (OSError, ValueError) as error:
            raise ConfigError(f"memory_limit: {error}") from error


# --- landlock -------------------------------------------------------------------------------------

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION: Final = 1
_BENEATH: Final = 1
# Rights to files, from linux/landlock.h.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_CHANGES = sum(1 << bit for bit in range(4, 13))  # remove and make all kinds
_REFER, _TRUNCATE = 1 << 13, 1 << 14
# What there is but to make devices, and to run: nobody does that in a spool.
_READ = _READ_FILE | _READ_DIR
_ALL = _READ | _WRITE_FILE | _CHANGES | _REFER | _TRUNCATE
_MAKE_DEVICES = 1 << 6 | 1 << 11  # character and block devices
# Rights that a rule on a file may have.
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE


def landlock_version() -> int:
    """Which landlock the kernel has; 0: none."""
    return max(0, int(_libc.syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))))


def landlock(read: Iterable[bytes], change: Iterable[bytes]) -> bool:
    """Let this process reach nothing but what is below the paths of *read*, and change below those of *change*.

    Says whether the kernel does so. Needs ``no_new_privileges``. Paths that are not there are passed over; raises
    ConfigError when it begins and cannot be brought to an end.
    """
    version = landlock_version()
    if version < 2:
        # The first version forbids every rename from one directory to another: a Maildir cannot be served so.
        log.info("no landlock", version=version)
        return False
    handled = _EXECUTE | _ALL if version >= 3 else (_EXECUTE | _ALL) & ~_TRUNCATE
    attributes = struct.pack("=Q", handled)
    ruleset = int(
        _libc.syscall(
            ctypes.c_long(_CREATE_RULESET),
            ctypes.c_char_p(attributes),
            ctypes.c_size_t(len(attributes)),
            ctypes.c_uint(0),
        )
    )
    if ruleset < 0:
        log.info("no landlock", why=os.strerror(ctypes.get_errno()))
        return False
    held = Descriptor(ruleset, "landlock ruleset")
    try:
        for paths, rights in ((read, _READ | _EXECUTE), (change, (_ALL & ~_MAKE_DEVICES) & handled)):
            for path in dict.fromkeys(paths):
                _allow(ruleset, path, rights)
        zero = ctypes.c_uint(0)
        if int(_libc.syscall(ctypes.c_long(_RESTRICT_SELF), ctypes.c_int(ruleset), zero)) < 0:
            raise ConfigError(f"landlock: {os.strerror(ctypes.get_errno())}")
    finally:
        held.close()
    return True


def _allow(ruleset: int, path: bytes, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            raise ConfigError(f"landlock: {os.fsdecode(path)}: {error.strerror}") from error
        return
    try:
        if not os.path.isdir(path):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
        done = _libc.syscall(
            ctypes.c_long(_ADD_RULE), ctypes.c_int(ruleset), ctypes.c_int(_BENEATH), rule, ctypes.c_uint(0)
        )
        if int(done) < 0:
            raise ConfigError(f"landlock: {os.fsdecode(path)}: {os.strerror(ctypes.get_errno())}")
    finally:
        os.close(place)


# --- what a server reaches ------------------------------------------------------------------------

# The system's: the interpreter and its libraries, who is who, time zones, what the kernel tells.
_SYSTEM: Final = ("/etc", "/usr", "/lib", "/lib64", "/bin", "/opt", "/nix", "/proc", "/dev", "/run", "/var/lib")


def to_read(files: Iterable[str]) -> list[bytes]:
    """List what a process that serves mail must read beside the mail, *files* of the settings among it."""
    package = Path(maildir_imapd.__file__).parent
    places = [*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix, str(package), *filter(os.path.isabs, sys.path)]
    for file in files:
        # The directory: a file that changes is another file.
        places += [os.path.dirname(os.path.abspath(file)), os.path.dirname(os.path.realpath(file))]
    return [os.fsencode(place) for place in places]


def of_places(places: Places) -> list[bytes]:
    """Below which directories one account's files are: its own, or where they would be made."""
    paths = [path for path in (places.root, places.inbox, places.control, places.cache) if path is not None]
    return [_existing(os.path.realpath(path)) for path in paths]


def of_users(mail: Mail, users: Iterable[Identity]) -> list[bytes]:
    """Below which directories the mail of all users is, and of those who may come while the server runs.

    As far as the settings say so: where a user's directory is a link to another disk, of those who are there now.
    """
    users = list(users)
    found: dict[bytes, None] = {}
    homes = {user.home for user in users if user.home}
    beside = {rule.location for rule in mail.namespaces if rule.location is not None}
    beside = {"maildir:" + each.removeprefix("virtual:") if each.startswith("virtual:") else each for each in beside}
    for template in {mail.location, *map(mail.location_of, users), *beside}:
        try:
            location = parse(template)
        except ValueError:
            continue  # its user cannot log in
        for beginning in _beginnings(location, homes):
            found[_existing(os.path.realpath(os.fsencode(beginning)))] = None
    for user in users:
        try:
            places = expand(mail.location_of(user), user.user, user.home)
        except (ConfigError, ValueError):
            continue
        for path in of_places(places):
            if not any(_below(path, above) for above in found):
                found[path] = None
    return list(found)


def _beginnings(location: Location, homes: set[str]) -> Iterator[str]:
    """The part of each path of a mail_location that is the same for all users, or the directories that homes lie in."""
    for template in (location.path, location.inbox, location.control, location.index):
        if template is None:
            continue
        if template.startswith(("~", "%h")):
            yield from (os.path.dirname(home) for home in homes)
        elif "%" in template:
            yield template.partition("%")[0].rpartition("/")[0] or "/"
        else:
            yield template


def _existing(path: bytes) -> bytes:
    """*path*, or the directory on the way there in which it would be made."""
    while not os.path.isdir(path) and path != b"/":
        path = os.path.dirname(path)
    return path


def _below(path: bytes, above: bytes) -> bool:
    return path == above or path.startswith(os.path.join(above, b""))


def lock_in(limits: Confinement, mail: list[bytes], *, log_file: bool) -> None:
    """Reach nothing but *mail* and what a server reads; with *log_file* also the directory of the log file.

    Raises ConfigError. Where the mail may be anywhere nothing is done, with a line in the log.
    """
    if b"/" in mail:
        log.info("landlock left out, mail_location may be anywhere")
        return
    change = list(mail)
    if log_file and limits.log_file:
        change.append(os.fsencode(os.path.dirname(os.path.abspath(limits.log_file))))
    change += [os.fsencode(os.path.dirname(os.path.abspath(file))) for file in limits.writes]
    landlock(to_read(limits.reads), change)
