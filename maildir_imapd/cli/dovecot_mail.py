"""Where Dovecot's mail is: mail_location or what 2.4 has for it, the personal namespace, and mailboxes set up in it."""

from __future__ import annotations

import re

from maildir_imapd import location as locations
from maildir_imapd.cli.dovecot_config import DovecotBlock
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on, translated
from maildir_imapd.cli.dovecot_users import DovecotHomes
from maildir_imapd.config import BY_NAME
from maildir_imapd.store.maildir.decide import AUTO
from maildir_imapd.store.maildir.layouts import KINDS
from maildir_imapd.store.records import special_use

# Settings of 2.4 that are options of mail_location in 2.3.
MAIL_2_4 = {
    "mail_path": "",
    "mailbox_list_layout": "LAYOUT",
    "mail_inbox_path": "INBOX",
    "mail_control_path": "CONTROL",
    "mail_index_path": "INDEX",
    "mailbox_list_utf8": "UTF-8",
    "mailbox_directory_name": "DIRNAME",
    "mailbox_root_directory_name": "MAILBOXDIR",
    "mailbox_subscriptions_filename": "SUBSCRIPTIONS",
    "mail_alt_path": "ALT",
    "mail_index_private_path": "INDEXPVT",
    "mailbox_list_storage_escape_char": "BROKENCHAR",
}
# Where Dovecot looks for a Maildir of which it is not told.
_USUAL = "~/Maildir"
# What the options would mean that are not served; with the first two mail would not be found.
_REFUSED = {
    "DIRNAME": "messages lie in a directory of that name in each folder, and are looked for in the folder itself",
    "MAILBOXDIR": "folders lie in a directory of that name, and are looked for in the root itself",
}
_TOLD = {
    "SUBSCRIPTIONS": "the file of subscriptions is called subscriptions here: rename it, or users lose theirs",
    "INDEXPVT": "\\Seen is the same for all who read a mailbox",
    "ALT": "messages that were moved to the second storage are not shown",
    "BROKENCHAR": "names are shown as they are on the disk, with the escapes",
}


def mail(reading: DovecotReading, homes: DovecotHomes) -> None:
    """Carry over where mail is, and the personal namespace; *homes* is what the user databases say of it."""
    personal = personal_of(reading)
    said = _said(reading, personal, homes)
    if said is not None:
        _location(reading, said, homes)
    _namespace(reading, personal)


def personal_of(reading: DovecotReading) -> DovecotBlock:
    """The namespace with INBOX; where none says so, the first that is private, or none."""
    blocks = reading.root.all("namespace")
    private = [block for block in blocks if block.get("type") in ("", "private")]
    return next((b for b in blocks if is_on(b.get("inbox"))), private[0] if private else DovecotBlock("namespace"))


def _said(reading: DovecotReading, personal: DovecotBlock, homes: DovecotHomes) -> dict[str, str] | None:
    """Return what is said of the location: the path under "", options by their names of 2.3; None if it is refused."""
    out, root = reading.out, reading.root
    options = {ours: reading.take(personal, theirs) or reading.take(root, theirs) for theirs, ours in MAIL_2_4.items()}
    options = {name: value for name, value in options.items() if value and (name != "UTF-8" or is_on(value))}
    location = reading.take(root, "mail_location")
    location = reading.take(personal, "location") or homes.mail or location
    driver = reading.take(personal, "mail_driver") or reading.take(root, "mail_driver")
    if not location and not driver and not options:
        why = "none is said: Dovecot asks the user database or looks in several places, and here it is ~/Maildir"
        out.tell("mail_location", why)
        if not homes.home:
            return None
        return {"": _USUAL, "LAYOUT": AUTO}
    name = "mail_driver"
    if location:
        name = "mail_location"
        driver, _, rest = location.partition(":")
        path, *words = locations.split(rest)
        options[""] = path
        options |= {word.partition("=")[0].upper(): word.partition("=")[2] for word in words}
    # What 2.4 prints lacks the layout fs.
    elif reading.tree.printed:
        options.setdefault("LAYOUT", AUTO)
    if driver != "maildir":
        where = location or f"{driver} {options.get('', '')}".rstrip()
        out.refuse(name, f"mail is {where}, and only Maildir is served: convert it first (doveadm sync)")
        return None
    return options


def _location(reading: DovecotReading, said: dict[str, str], homes: DovecotHomes) -> None:
    """Make our mail_location."""
    out = reading.out
    path = translated(said.pop("", "") or _USUAL)
    path = path.rstrip("/") or path
    layout = said.pop("LAYOUT", "").lower()
    if layout not in ("", AUTO, *KINDS):
        out.refuse("LAYOUT", f"folders lie as {layout} has them; there are {' and '.join(KINDS)}")
        return
    for name, value in said.items():
        if name in _REFUSED and value:
            out.refuse(f"{name}={value}", _REFUSED[name])
        elif name in _TOLD and value:
            out.tell(f"{name}={value}", _TOLD[name])
        elif name not in ("INBOX", "CONTROL", "INDEX", "UTF-8", *_REFUSED, *_TOLD, *locations.IGNORED):
            out.tell(name, "there is no such option of mail_location here")
    places = {}
    for name in ("INBOX", "CONTROL", "INDEX"):
        value = translated(said.get(name, "")).rstrip("/")
        if value in ("", ".", path) or value.upper() == "MEMORY":
            continue
        places[name.lower()] = value if value.startswith(("/", "~", "%h")) else f"{path}/{value}"
    where = locations.Location(path, layout or "maildir++", utf8="UTF-8" in said, **places)
    written = at_home(reading, str(where), homes)
    try:
        locations.parse(written)
    except ValueError as error:
        out.refuse("mail_location", f"{written} {error}")
    else:
        out.settings["mail_location"] = written


def at_home(reading: DovecotReading, written: str, homes: DovecotHomes) -> str:
    """Put the home of all users into a location that needs one, where it is known."""
    uses = "%h" in written or "~" in written
    home = translated(homes.home).rstrip("/")
    if not uses or not home:
        return written
    if homes.each:
        why = f"a user's home is {home} where nothing else is said: write it into the lines of passwd_file without one"
        reading.out.tell("mail_home", why)
        return written
    kind, _, rest = written.partition(":")
    words = [re.sub(r"^((?:[A-Z]+=)?)~(?=/|$)", r"\1%h", word) for word in locations.split(rest)]
    words = [word.replace("%h", home) for word in words]
    return ":".join([kind, *[word.replace(":", "::") for word in words]])


def _namespace(reading: DovecotReading, personal: DovecotBlock) -> None:
    """Carry over what clients see before and between names."""
    out = reading.out
    for name in ("inbox", "type", "order"):
        reading.take(personal, name)
    for name, usual in (("list", "yes"), ("subscriptions", "yes"), ("hidden", "no")):
        value = reading.take(personal, name)
        if value not in ("", usual) and not (name == "list" and value == "children"):
            out.tell(f"{personal}/{name}", f"the personal namespace is listed, with its own subscriptions, not {value}")
    separator = reading.take(personal, "separator")
    if separator:
        try:
            out.settings["delimiter"] = BY_NAME["delimiter"].check(separator)
        except ValueError as error:
            out.tell(f"{personal}/separator", f"clients see . or / between names, not {separator}: it {error}")
    prefix = reading.take(personal, "prefix")
    try:
        BY_NAME["prefix"].check(prefix)
    except ValueError as error:
        out.tell(f"{personal}/prefix", f"clients do not see {prefix} before names: it {error}")
        prefix = ""
    out.settings["prefix"] = prefix or "none"
    layout = locations.parse(out.settings["mail_location"]).layout if "mail_location" in out.settings else ""
    _mailboxes(reading, personal, separator or ("/" if layout == "fs" else "."))


def _mailboxes(reading: DovecotReading, personal: DovecotBlock, separator: str) -> None:
    """Carry over what is set up for mailboxes of everybody's."""
    rules: dict[str, str] = {}
    uses: dict[str, str] = {}
    for block in personal.all("mailbox"):
        said = _words(reading, block, uses)
        if not said:
            continue
        name = "/".join(block.name.split(separator))
        written = f"{name}: {', '.join(f'{word}={value}' for word, value in said.items())}"
        try:
            BY_NAME["mailboxes"].check(written)
        except ValueError as error:
            reading.out.tell(f"mailbox {block.name}", f"nothing is set up for it, for it {error}")
        else:
            rules.setdefault(name, written)
    if rules:
        reading.out.settings["mailboxes"] = list(rules.values())


def _words(reading: DovecotReading, block: DovecotBlock, uses: dict[str, str]) -> dict[str, str]:
    """Return what is said of a mailbox, as our setting has it; *uses*: by special use which mailbox has it."""
    out, name = reading.out, f"mailbox {block.name}"
    said = {}
    for use in reading.take(block, "special_use").split():
        plain = use.removeprefix("\\")
        if use.encode() not in special_use.ATTRIBUTES or "use" in said:
            known = b", ".join(special_use.ATTRIBUTES).decode()
            out.tell(name, f"it is not announced as {use}: a mailbox has one use, of {known}")
        elif uses.setdefault(plain, block.name) == block.name:
            said["use"] = plain
        elif special_use.meant(block.name) != use.encode():
            out.tell(name, f"it is not announced as {use}, which {uses[plain]} is: clients expect one")
        # Else it has it by its name, for whom the other one is not there.
    auto = reading.take(block, "auto")
    if auto in ("create", "subscribe"):
        said["auto"] = auto
    after = reading.take(block, "autoexpunge")
    if after not in ("", "0", "infinite"):
        match = re.fullmatch(r"(\d+)\s*(s|m|h|d|w)[a-z]*", after.strip().lower())
        if match and not match[0].endswith(("ms", "msecs")):
            said["autoexpunge"] = match[1] + match[2]
        else:
            out.tell(name, f"old messages are not removed from it after {after}, which is no time")
    count = reading.take(block, "autoexpunge_max_mails")
    if count not in ("", "0", "unlimited"):
        said["autoexpunge_count"] = count
    return said
