"""Dovecot's namespaces other than the one with INBOX: what is a namespace here, and what their users lack."""

from __future__ import annotations

import re
from typing import Final

from maildir_imapd import location as locations
from maildir_imapd.cli.dovecot_config import DovecotBlock
from maildir_imapd.cli.dovecot_mail import at_home, personal_of
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on, translated
from maildir_imapd.cli.dovecot_users import DovecotHomes
from maildir_imapd.namespace_rules import VIRTUAL, namespace_rule
from maildir_imapd.store.maildir.layouts import KINDS
from maildir_imapd.values import private_index

# Of whom the mail is, 2.3 and 2.4, as ours for one's own: %%u, %%Lu, %{owner_user}, $user, $username.
_OWNERS: Final = (
    (re.compile(r"%%L?([undh])|%%\{(?:user|username|domain|home)\}"), r"%\1"),
    (re.compile(r"%\{owner_user\}|\$\{?user\b\}?"), "%u"),
    (re.compile(r"%\{owner_username\}|\$\{?username\b\}?"), "%n"),
    (re.compile(r"%\{owner_domain\}|\$\{?domain\b\}?"), "%d"),
    (re.compile(r"%\{owner_home\}"), "%h"),
)
# What is ours alone, or is decided by who reads.
_IGNORED: Final = ("INDEX", "INDEXPVT", "CONTROL")
_LISTS: Final = {"": "yes", "yes": "yes", "children": "children", "no": "no"}


def namespaces(reading: DovecotReading, homes: DovecotHomes) -> None:
    """Carry over every namespace but that with INBOX; where mail is, and what is between names, is known already."""
    personal = personal_of(reading)
    blocks = [block for block in reading.root.all("namespace") if block is not personal]
    found = [written for block in blocks if (written := _rule(reading, block, homes))]
    if found:
        reading.out.settings["namespaces"] = found


def _rule(reading: DovecotReading, block: DovecotBlock, homes: DovecotHomes) -> str:
    """Return an item of our setting; "", with a word to the users, for what is not served."""
    kind, prefix = block.get("type") or "private", block.get("prefix")
    where = block.get("location") or block.get("mail_path")
    driver = block.get("mail_driver") or where.partition(":")[0]
    for name in ("order", "inbox", "ignore_on_failure", "disabled"):
        reading.take(block, name)
    if is_on(block.get("disabled")):
        reading.pass_over(block)
        return ""
    if kind == "private" and block.find("alias_for") is None and not where and not prefix:
        return _missing(reading, block, _lacks(kind, prefix, where, driver))
    separator = reading.take(block, "separator") or "/"
    words = {"private": "personal", "shared": "others"}.get(kind, kind)
    if driver == "virtual":
        words = "virtual"
    if block.find("alias_for") is not None:
        if reading.take(block, "alias_for"):
            return _missing(reading, block, _lacks("alias", prefix, where, driver))
        words = "alias"
    said = {"type": words}
    path = ""
    if words not in ("alias",):
        said |= {"list": _LISTS.get(reading.take(block, "list"), "yes")}
        path = _location(reading, block, where, homes if words == "others" else None, said)
    if path:
        said["location"] = path.replace(",", ",,")
    _rest(reading, block, said)
    levels = _owner(prefix, reading).removesuffix(separator).split(separator)
    written = f"{'/'.join(levels)}/: {', '.join(f'{word}={value}' for word, value in said.items())}"
    try:
        namespace_rule(written)
    except ValueError as error:
        reading.out.tell(str(block), f"{_lacks(kind, prefix, where, driver)}: it {error}")
        written = ""
    reading.pass_over(block)
    return written


def _rest(reading: DovecotReading, block: DovecotBlock, said: dict[str, str]) -> None:
    """Take what is said of subscriptions, of what is hidden and of rights."""
    out = reading.out
    there = is_on(reading.take(block, "subscriptions") or "yes")
    if said["type"] in ("public", "personal") and there:
        said["subscriptions"] = "there"
    elif said["type"] == "others" and there:
        out.tell(f"{block}/subscriptions", "each user's subscriptions to others' mailboxes are kept in his own account")
    elif said["type"] == "virtual" and there:
        out.tell(f"{block}/subscriptions", "subscriptions to virtual mailboxes are kept in each user's own account")
    if is_on(reading.take(block, "hidden")) and said["type"] != "alias" and said.get("list") != "no":
        out.tell(f"{block}/hidden", "NAMESPACE tells of all namespaces that LIST shows")
    guarded = "acl" in reading.plugins()
    if said["type"] == "public" and not guarded:
        said["rights"] = "lrswipektxa"
    if said["type"] == "others":
        if not guarded:
            out.tell(str(block), "whoever may read another's files saw his mail; here the list of each mailbox says")
            out.settings["acl"] = True
        if is_on(reading.take(reading.root, "mail_shared_explicit_inbox")):
            said["inbox"] = "named"


def _location(
    reading: DovecotReading, block: DovecotBlock, where: str, homes: DovecotHomes | None, said: dict[str, str]
) -> str:
    """Return the location of a namespace, "" where it is where each has his own mail; *homes*: of others' owners.

    What it says beside that goes to *said*.
    """
    driver = reading.take(block, "mail_driver")
    path, options = where, dict[str, str]()
    if ":" in where and not driver:
        driver, _, rest = where.partition(":")
        path, *words = locations.split(rest)
        options = {word.partition("=")[0].upper(): word.partition("=")[2] for word in words}
    elif layout := reading.take(block, "mailbox_list_layout"):
        options["LAYOUT"] = layout
    if seen := options.pop("INDEXPVT", "") or reading.take(block, "mail_index_private_path"):
        _private(reading, block, seen, said)
    for name in _IGNORED:
        options.pop(name, None)
    path = translated(path) if homes is None else _owner(path, reading)
    path = path.rstrip("/") or path
    if homes is not None:
        own = str(reading.out.settings.get("mail_location", ""))
        path = at_home(reading, f"maildir:{path}", homes).partition(":")[2].rstrip("/") if path else ""
        if path in ("", own.partition(":")[2].split(":")[0].rstrip("/").replace("~", "%h")):
            return ""
    layout = options.pop("LAYOUT", "").lower()
    for name, value in options.items():
        if name not in locations.IGNORED:
            reading.out.tell(f"{block}: {name}={value}", "there is no such option of a namespace's location here")
    if driver == "virtual":
        kept = str(locations.Location(path, layout if layout == "maildir++" else locations.AUTO))
        return VIRTUAL + kept.removeprefix("maildir:")
    if driver not in ("", "maildir") or layout not in ("", *KINDS):
        return f"{driver}:{path}"  # which is refused, with a word why
    return str(locations.Location(path, layout or "maildir++"))


def _private(reading: DovecotReading, block: DovecotBlock, where: str, said: dict[str, str]) -> None:
    """Take where Dovecot kept what each reader has seen, which is read on; its owners are %%u there as here."""
    said["private_seen"] = "yes"
    pattern = re.compile("|".join(f"(?:{each.pattern})" for each, _ in _OWNERS))
    owners = [re.sub("^%", "%%", _owner(found[0], reading)) for found in pattern.finditer(where)]
    rest = [translated(part) for part in pattern.sub("\0", where).split("\0")]
    written = "".join(a + b for a, b in zip(rest, [*owners, ""], strict=True)).rstrip("/")
    try:
        said["private_index"] = private_index(written).replace(",", ",,")
    except ValueError as error:
        reading.out.tell(str(block), f"readers begin with nothing seen there: the path of it, {where}, {error}")


def _owner(text: str, reading: DovecotReading) -> str:
    """Write the variables for the owner of a mailbox as ours are for a user."""
    for pattern, ours in _OWNERS:
        text = pattern.sub(ours, text)
    return translated(text)


def _missing(reading: DovecotReading, block: DovecotBlock, why: str) -> str:
    reading.out.tell(str(block), why)
    reading.pass_over(block)
    return ""


def _lacks(kind: str, prefix: str, where: str, driver: str) -> str:
    """Say what users lack of a namespace that is not served."""
    prefix = prefix or "no prefix"
    at = f" in {where}" if where else ""
    if kind == "shared":
        return f"users do not see mailboxes of others, which were under {prefix}"
    if kind == "public":
        return f"nobody sees the mailboxes under {prefix}{at}, which were everybody's"
    if kind == "alias":
        return f"clients that are set to the prefix {prefix} find nothing there; it was another name of a namespace"
    if driver == "virtual":
        return f"the virtual mailboxes under {prefix} are not there"
    return f"users do not see their mailboxes under {prefix}{at}"
