"""Dovecot's users: passdb and userdb blocks, and what stands about names and passwords."""

from __future__ import annotations

from dataclasses import dataclass

from maildir_imapd.auth.base import External, Token
from maildir_imapd.auth.offered import MECHANISMS
from maildir_imapd.cli.dovecot_config import DovecotBlock
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on, pairs, translated

_SYSTEM = ("pam", "passwd", "shadow", "bsdauth")
# Of these a passwd_file for us has to be made, and its lines can say what the others are asked for.
_ASKED = ("sql", "ldap", "lua", "dict", "checkpassword", "imap", "oauth2")
# Hashes that are known without a scheme.
_CRYPT = ("CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "BLF-CRYPT", "MD5-CRYPT")


@dataclass(frozen=True, slots=True)
class DovecotHomes:
    """Homes and mail as the user databases say them for all users alike, as Dovecot writes it; "" where they do not.

    *each*: a home may differ from *home* for a user of the passwd_file or of the system.
    """

    home: str = ""
    mail: str = ""
    each: bool = False


def users(reading: DovecotReading) -> DovecotHomes:
    """Carry over who may log in, and return where their mail is."""
    for block in reading.root.all("passdb"):
        _passdb(reading, block)
    if not reading.root.all("passdb"):
        reading.out.tell("passdb", "there is none: write a passwd_file (maildir-imapd user add)")
    homes = _userdbs(reading)
    _names(reading)
    _mechanisms(reading)
    return homes


def _driver(reading: DovecotReading, block: DovecotBlock) -> str:
    """2.4 has a name for each database, which is the driver where none is said."""
    return reading.take(block, "driver") or block.name


def _path(reading: DovecotReading, block: DovecotBlock) -> str:
    """The file that a database is asked with; "" for none."""
    args = pairs(reading.take(block, "args"))
    path = reading.take(block, "passwd_file_path") or args.get("", "")
    scheme = (reading.take(block, "default_password_scheme") or args.get("scheme", "CRYPT")).upper()
    name_format = reading.take(block, "auth_username_format") or args.get("username_format", "%u")
    if block.kind == "passdb" and scheme not in _CRYPT:
        why = (
            f"hashes without {{SCHEME}} in front are {scheme} for Dovecot, and crypt strings here: write it before them"
        )
        reading.out.tell(f"{block}/scheme", why)
    if translated(name_format) not in ("%u", ""):
        why = f"names are looked up as {name_format}, and here as clients write them: add lines for those"
        reading.out.tell(f"{block}/username_format", why)
    return path


def _passdb(reading: DovecotReading, block: DovecotBlock) -> None:
    driver, out = _driver(reading, block), reading.out
    name = f"passdb {driver}"
    args = block.get("args")
    master, deny = is_on(reading.take(block, "master")), is_on(reading.take(block, "deny"))
    if driver == "passwd-file":
        path = _path(reading, block)
        for filtered in reading.take(block, "mechanisms_filter", "mechanisms").upper().split():
            if filtered not in MECHANISMS:
                out.tell(name, f"its users log in with {filtered}, which is not offered here")
        if master:
            out.tell(name, f"the master users of {path} cannot log in as others before auth_master_file is set")
        elif deny:
            out.tell(name, f"the users of {path} are locked out by Dovecot: give them nologin in the passwd_file")
        elif not path or "%" in path:
            out.tell(name, f"it is not one file ({path or 'none is named'}): put the users into one passwd_file")
        elif out.settings.setdefault("passwd_file", path) != path:
            out.tell(name, f"one passwd_file is read: add the lines of {path} to it")
    else:
        reading.take(block, "args")
        where = pairs(args).get("", "")
        asked = f" whom {driver} finds" + (f" ({where})" if where else "")
        if driver == "static" and ("nopassword" in args or "nopassword" in str(block)):
            out.tell(name, "Dovecot takes any password, or none: here every user has a line in the passwd_file")
        elif driver == "static":
            out.tell(name, "all users have one password: here every user has a line in the passwd_file")
        elif driver in _SYSTEM:
            out.tell(name, "users of the system log in with their passwords there: here a passwd_file has to name them")
        else:
            who = "the master users" if master else "the users"
            out.tell(name, f"{who}{asked} cannot log in: write them into a passwd_file")
        reading.pass_over(block)
    for option in ("result_success", "result_failure", "result_internalfail", "skip", "pass", "use_worker"):
        reading.take(block, option)  # in which order databases are asked; there is one here


def _userdbs(reading: DovecotReading) -> DovecotHomes:
    """Read all of them: what they say of every user counts, the first of them before the others."""
    out = reading.out
    homes, mail, owners = [], "", []
    each = False
    for block in reading.root.all("userdb"):
        driver = _driver(reading, block)
        name = f"userdb {driver}"
        said = _fields(reading, block, static=driver == "static")
        if driver == "passwd-file":
            path = _path(reading, block)
            if path == out.settings.get("passwd_file"):
                each = True
            else:
                out.tell(name, f"homes, uids and limits of {path} are not read: write them into the passwd_file")
        elif driver == "passwd":
            out.tell(name, "homes and uids of the system are not asked for: write them into the passwd_file")
            each = True
        elif driver == "prefetch" and "passwd_file" in out.settings:
            why = "userdb_home, userdb_uid and userdb_gid of a user are not read: write them into his line's fields"
            out.tell(name, why)
            each = True
        elif driver in _ASKED:
            why = f"homes, uids and limits that {driver} gives are not asked for: write them into the passwd_file"
            out.tell(name, why)
        reading.pass_over(block)
        homes += [said["home"]] if said.get("home") else []
        mail = mail or said.get("mail") or _mail_path(said)
        owners += [said["uid"]] if said.get("uid") else []
        for field, value in said.items():
            if field not in ("home", "mail", "mail_path", "mail_driver", "uid", "gid", "allow_all_users", ""):
                out.tell(f"{name}/{field}", f"every user has {field} = {value} there: write it into the passwd_file")
    _owner(reading, owners)
    # Dovecot's manual, "User Databases": a home that a database gives overrides mail_home.
    default = reading.take(reading.root, "mail_home")
    return DovecotHomes(homes[0] if homes else default, mail, each)


def _mail_path(said: dict[str, str]) -> str:
    path = said.get("mail_path", "")
    return f"{said.get('mail_driver', 'maildir')}:{path}" if path else ""


def _fields(reading: DovecotReading, block: DovecotBlock, *, static: bool) -> dict[str, str]:
    """Read what a userdb says for each of its users, or for those of whom it knows nothing else."""
    found = pairs(reading.take(block, "default_fields"))
    if static:
        found |= pairs(reading.take(block, "args"))
    found |= pairs(reading.take(block, "override_fields"))
    for inner in block.all("fields", "userdb_fields"):
        found |= {setting.name.partition(":")[0]: setting.value for setting in inner.settings}
    return found


def _owner(reading: DovecotReading, owners: list[str]) -> None:
    """Carry over to whom the files belong."""
    out = reading.out
    uid = reading.take(reading.root, "mail_uid") or next(iter(owners), "")
    gid = reading.take(reading.root, "mail_gid")
    if uid.isdigit():
        out.tell("mail_uid", f"mail belongs to user {uid}: set mail_user to the name of that user")
    elif uid:
        out.settings["mail_user"] = uid
    if gid and gid != uid:
        out.tell("mail_gid", f"mail is in the group {gid}: here it is in the group of mail_user")


def _names(reading: DovecotReading) -> None:
    out, root = reading.out, reading.root
    how = reading.take(root, "auth_username_format")
    if translated(how) not in ("", "%u"):
        out.tell("auth_username_format", f"names are changed to {how} before they are looked up, and here they are not")
    realm = reading.take(root, "auth_default_realm", "auth_default_domain")
    if realm:
        out.tell("auth_default_realm", f"who leaves @{realm} out logs in there, and not here: add lines for those")
    separator = reading.take(root, "auth_master_user_separator")
    if separator:
        out.tell("auth_master_user_separator", f"USER{separator}MASTER logs nobody in before auth_master_file is set")
    size, ttl = reading.take(root, "auth_cache_size"), reading.take(root, "auth_cache_ttl")
    if size not in ("", "0"):
        # Times are written there as "1 hour".
        units = {
            "s": "s",
            "sec": "s",
            "secs": "s",
            "m": "m",
            "min": "m",
            "mins": "m",
            "h": "h",
            "hour": "h",
            "hours": "h",
        }
        number, _, unit = (ttl or "1 hours").partition(" ")
        if number.isdigit() and unit in units:
            out.settings["auth_cache_time"] = number + units[unit]
        else:
            out.tell("auth_cache_ttl", "a right password is remembered for five minutes (auth_cache_time)")


def _mechanisms(reading: DovecotReading) -> None:
    names = reading.take_imap("auth_mechanisms").upper().split()
    lacking = [name for name in names if name not in MECHANISMS or MECHANISMS[name].shows in (Token, External)]
    if lacking:
        why = f"clients that are set to {', '.join(lacking)} cannot log in: nothing is set up for these mechanisms"
        reading.out.tell("auth_mechanisms", why)
