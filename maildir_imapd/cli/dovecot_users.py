"""Dovecot's users: passdb and userdb blocks, and what stands about names and passwords."""

from __future__ import annotations

import re
from dataclasses import dataclass

from maildir_imapd.auth.base import External, Token
from maildir_imapd.auth.offered import MECHANISMS
from maildir_imapd.cli.dovecot_config import DovecotBlock
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on, pairs, translated
from maildir_imapd.config import BY_NAME

_SYSTEM = ("passwd", "shadow", "bsdauth")
# Of these a passwd_file for us has to be made, and its lines can say what the others are asked for.
_ASKED = ("lua", "dict", "imap")
# These are asked here too, by settings that an administrator has to carry over where they stand in another file.
_BY_HAND = {
    "sql": "sql_connect, sql_password_query and sql_user_query",
    "ldap": "ldap_uri, ldap_base, ldap_filter and ldap_user_attributes",
    "oauth2": "oauth_issuer, oauth_audience, and oauth_keys or oauth_introspection",
}
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
    for setting in ("passwd_file", "auth", "userdb", "auth_static", "ldap_uri"):
        if len(written := reading.out.settings.get(setting, ())) == 1:
            reading.out.settings[setting] = written[0]
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
    if master and driver != "passwd-file":
        out.tell(name, f"the master users whom {driver} finds cannot log in as others: there are none here")
        reading.pass_over(block)
    elif driver == "passwd-file":
        _passwd_file(reading, block, master=master, deny=deny)
    elif driver == "pam":
        _pam(reading, block)
    elif driver == "checkpassword":
        out.settings["auth_command"] = reading.take(block, "args", "passdb_checkpassword_path")
        _ask(reading, "command")
    elif driver == "sql" and _sql(reading, block, "sql_password_query"):
        _ask(reading, "sql")
    elif driver == "ldap" and is_on(block.get("ldap_bind", "bind")) and _ldap(reading, block):
        _ask(reading, "ldap")
    else:
        reading.take(block, "args")
        _not_asked(reading, name, driver, pairs(args), str(block))
        reading.pass_over(block)
    for option in ("result_success", "result_failure", "result_internalfail", "skip", "pass", "use_worker"):
        reading.take(block, option)  # in which order databases are asked; here that of the blocks


def _not_asked(reading: DovecotReading, name: str, driver: str, args: dict[str, str], block: str) -> None:
    out = reading.out
    where = args.get("", "")
    if driver == "static" and ("nopassword" in args or "nopassword" in block):
        out.tell(name, "Dovecot takes any password, or none: here every user has a line in the passwd_file")
    elif driver == "static":
        out.tell(name, "all users have one password: here every user has a line in the passwd_file")
    elif driver in _SYSTEM:
        out.tell(name, "users of the system log in with their passwords there: here that is asked of PAM (auth = pam)")
    elif driver in _BY_HAND:
        behind = f" by {where}" if where else ""
        ours, settings = driver.removesuffix("2"), _BY_HAND[driver]
        out.tell(name, f"set auth = {ours}, and {settings}{behind}: until then its users cannot log in")
    else:
        asked = f" whom {driver} finds" + (f" ({where})" if where else "")
        out.tell(name, f"the users{asked} cannot log in: write them into a passwd_file")


def _ask(reading: DovecotReading, name: str) -> None:
    """Note that a back end is to be asked for passwords, behind those that were before."""
    auth = reading.out.settings.setdefault("auth", [])
    if name not in auth:
        auth.append(name)


def _passwd_file(reading: DovecotReading, block: DovecotBlock, *, master: bool, deny: bool) -> None:
    out, name = reading.out, "passdb passwd-file"
    path = _path(reading, block)
    for filtered in reading.take(block, "mechanisms_filter", "mechanisms").upper().split():
        if filtered not in MECHANISMS:
            out.tell(name, f"its users log in with {filtered}, which is not offered here")
    ours = _short(path)
    if master and path and _fits(ours) and "%" not in ours and "auth_master_file" not in out.settings:
        out.settings["auth_master_file"] = ours
    elif master:
        out.tell(name, f"the master users of {path} cannot log in as others: there is one auth_master_file")
    elif deny:
        out.tell(name, f"the users of {path} are locked out by Dovecot: give them nologin in the passwd_file")
    elif not path or not _fits(ours):
        out.tell(
            name, f"it is no file that can be read here ({path or 'none is named'}): put the users into a passwd_file"
        )
    else:
        files = out.settings.setdefault("passwd_file", [])
        if ours not in files:
            files.append(ours)
        _ask(reading, "passwd-file")


def _fits(written: str, setting: str = "sql_password_query") -> bool:
    """Whether a setting can have that value; the default: whether a text has only variables that we have."""
    try:
        BY_NAME[setting].check(written)
    except ValueError:
        return False
    return True


def _pam(reading: DovecotReading, block: DovecotBlock) -> None:
    out = reading.out
    args = pairs(reading.take(block, "args"))
    service = reading.take(block, "service_name", "passdb_pam_service_name") or args.get("", "dovecot")
    # By the name of the protocol: for us there is one.
    out.settings["pam_service"] = "imap" if service in ("%s", "*", "%{protocol}", "%{service}") else service
    if is_on(reading.take(block, "session", "passdb_pam_session") or args.get("session", "")):
        out.settings["pam_session"] = True
    for option in ("setcred", "max_requests", "failure_show_msg", "cache_key"):
        reading.take(block, option, f"passdb_pam_{option}")  # how it is done, which users do not notice
    _ask(reading, "pam")


def _sql(reading: DovecotReading, block: DovecotBlock, setting: str) -> bool:
    """Carry over a query that stands in the configuration itself (2.4), and its database; say whether it was one."""
    out, root = reading.out, reading.root
    written = block.get(f"{block.kind}_sql_query") or block.get("query")
    where = _database(reading)
    if not written or not where or not _fits(_short(written)):
        return False
    reading.take(block, f"{block.kind}_sql_query", "query")
    out.settings["sql_connect"] = where
    out.settings[setting] = _short(written)
    everybody = reading.take(block, "userdb_sql_iterate_query", "iterate_query")
    if everybody and _fits(_short(everybody)):
        out.settings["sql_iterate_query"] = _short(everybody)
    scheme = (reading.take(block, "passdb_default_password_scheme", "default_password_scheme") or "CRYPT").upper()
    if _fits(scheme, "sql_password_scheme"):
        out.settings.setdefault("sql_password_scheme", scheme)
    else:
        out.tell(f"{block}/default_password_scheme", f"write {{{scheme}}} in front of the hashes")
    for kind in ("pgsql", "sqlite"):
        for each in root.all(kind):
            reading.pass_over(each)
    reading.take(root, "sql_driver")
    reading.take(root, "sqlite_path")
    return True


def _ldap(reading: DovecotReading, block: DovecotBlock) -> bool:
    """Carry over a directory whose settings stand in the configuration itself (2.4); say whether they do."""
    out, root = reading.out, reading.root
    uris, base = root.get("ldap_uris"), _short(block.get("ldap_base") or root.get("ldap_base"))
    written = _short(block.get("ldap_filter", "filter"))
    said = {"ldap_uri": uris.split(), "ldap_base": base, "ldap_filter": written}
    if not uris or not written or not _fits(base) or not _fits(written):
        return False
    if any(out.settings.get(name, value) != value for name, value in said.items()):
        return False  # users are found otherwise than their passwords
    reading.pass_over(block)
    out.settings |= said
    for name in ("ldap_uris", "ldap_base", "ldap_version", "ldap_connection_group"):
        reading.take(root, name)
    if is_on(reading.take(root, "ldap_starttls")):
        out.settings["ldap_starttls"] = True
    bind = reading.take(root, "ldap_auth_dn")
    if bind:
        out.settings["ldap_bind_dn"] = bind
    if reading.take(root, "ldap_auth_dn_password"):
        out.tell("ldap_auth_dn_password", "write it into a file of its own, named in ldap_bind_password_file")
    found = []
    for fields in block.all("fields", "userdb_fields"):
        for setting in fields.settings:
            attribute = _ATTRIBUTE(setting.value)
            if attribute is None or setting.name in ("user", "password"):
                continue
            around = setting.value.replace(attribute[0], "%$")
            found.append(f"{attribute[1]}={setting.name}" + (f"={around}" if around != "%$" else ""))
    if found:
        out.settings["ldap_user_attributes"] = found
    out.tell(
        "ldap", "the name of a user is that in ldap_name_attribute (uid), whatever ldap_filter compares: set it so"
    )
    return True


_ATTRIBUTE = re.compile(r"%\{ldap:([A-Za-z0-9;-]+)\}").search


def _short(written: str) -> str:
    """Spell variables as ours, small letters and all."""
    return translated(written, low=True)


def _database(reading: DovecotReading) -> str:
    """Where the database of the whole configuration is, as sql_connect has it; "" for one that is not asked here."""
    root = reading.root
    driver = root.get("sql_driver")
    if driver == "sqlite":
        path = root.get("sqlite_path") or next((block.get("path") for block in root.all("sqlite")), "")
        return f"sqlite:{path}" if path else ""
    servers = root.all("pgsql")
    if driver != "pgsql" or len(servers) != 1:
        return ""
    (server,) = servers
    said = {"host": server.get("host") or server.name}
    for inner in server.all("parameters"):
        said |= {setting.name: setting.value for setting in inner.settings}
    said |= {setting.name.removeprefix("pgsql_parameters/"): setting.value for setting in server.settings}
    if said.get("password"):
        why = "write the database's password into a file of its own, and name that in sql_password_file"
        reading.out.told = [each for each in reading.out.told if each[1] != why]
        reading.out.tell("pgsql password", why)
    kept = {name: value for name, value in said.items() if name in _LIBPQ and value and "hidden" not in value}
    return " ".join(f"{name}={value}" for name, value in kept.items())


_LIBPQ = ("host", "hostaddr", "port", "dbname", "user", "sslmode", "sslrootcert")


def _userdbs(reading: DovecotReading) -> DovecotHomes:
    """Read all of them: what they say of every user counts, the first of them before the others."""
    out = reading.out
    homes, mail, owners = [], "", []
    each = False
    asked: list[str] = []
    static: dict[str, str] = {}
    for block in reading.root.all("userdb"):
        driver = _driver(reading, block)
        name = f"userdb {driver}"
        said = _fields(reading, block, static=driver == "static")
        if driver == "passwd-file":
            path = _path(reading, block)
            if _short(path) in out.settings.get("passwd_file", ()):
                each = True
                asked.append("passwd-file")
            else:
                out.tell(name, f"homes, uids and limits of {path} are not read: write them into the passwd_file")
        elif driver == "passwd":
            each = True
            asked.append("system")
        elif driver == "prefetch" and "passwd_file" in out.settings:
            each = True
        elif driver == "static":
            static = static or {name: said[name] for name in ("home", "uid") if said.get(name)}
            asked += ["static"] if static else []
        elif driver == "sql" and _sql(reading, block, "sql_user_query"):
            each = True
            asked.append("sql")
        elif driver == "ldap" and _ldap(reading, block):
            each = True
            asked.append("ldap")
        elif driver in _BY_HAND:
            out.tell(name, f"homes, uids and limits that {driver} gives need userdb = {driver}, and {_BY_HAND[driver]}")
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
    _asked_for_homes(reading, asked, static)
    # Dovecot's manual, "User Databases": a home that a database gives overrides mail_home.
    default = reading.take(reading.root, "mail_home")
    return DovecotHomes(homes[0] if homes else default, mail, each)


def _asked_for_homes(reading: DovecotReading, asked: list[str], static: dict[str, str]) -> None:
    """Say who is asked for homes, where that is not who is asked anyhow."""
    settings = reading.out.settings
    auth = settings.get("auth", [])
    alone = {("passwd-file",): "passwd-file", ("pam",): "system", ("sql",): "sql", ("ldap",): "ldap"}.get(tuple(auth))
    if auth == ["passwd-file"]:
        del settings["auth"]  # as it is where nothing is said
    # Homes that are the same for all stand in mail_location, and users of files have lines of their own.
    if auth == ["passwd-file"] and asked == ["static"]:
        return
    if "static" in asked:
        value = {name: translated(value) for name, value in static.items()}
        if not all(map(_fits, value.values())):
            reading.out.tell("userdb static", "homes have variables that there are not here: see auth_static")
            asked = [name for name in asked if name != "static"]
        else:
            settings["auth_static"] = [f"{name}={value}" for name, value in value.items()]
    if auth and asked and asked != [alone]:
        settings["userdb"] = asked
    uid = reading.root.get("first_valid_uid")
    if "system" in asked and uid.isdigit() and int(uid) > 0:
        settings["system_first_uid"] = int(uid)


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
    ours = _short(how)
    if re.fullmatch("%L?[un]", ours):
        out.settings["auth_username_format"] = ours
    elif how:
        out.tell("auth_username_format", f"names are changed to {how} before they are looked up, and here they are not")
    realm = reading.take(root, "auth_default_realm", "auth_default_domain")
    if realm:
        out.settings["auth_default_realm"] = realm
    separator = reading.take(root, "auth_master_user_separator")
    if separator == BY_NAME["auth_master_separator"].default:
        pass
    elif separator and _fits(separator, "auth_master_separator"):
        out.settings["auth_master_separator"] = separator
    elif separator:
        out.tell("auth_master_user_separator", f"USER{separator}MASTER logs nobody in: it must be one character")
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
