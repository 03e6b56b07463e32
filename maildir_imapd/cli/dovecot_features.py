"""Dovecot's plugins, limits and other features that there are here as well, or that users will look for."""

from __future__ import annotations

import re

from maildir_imapd.auth.fields import quota_rule
from maildir_imapd.cli.dovecot_config import DovecotSetting
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on
from maildir_imapd.cli.dovecot_tables import PLUGINS, PLUGINS_HARMLESS, meaning
from maildir_imapd.config import BY_NAME


def features(reading: DovecotReading) -> None:
    """Carry over plugins and limits."""
    plugins = reading.plugins()
    _format(reading, plugins)
    indexes = {plugin for plugin in plugins if plugin.partition("_")[0] == "fts"}
    if indexes:
        reading.out.settings["search_index"] = True
    _quota(reading, plugins)
    _rights(reading, plugins)
    _limits(reading)
    for plugin in sorted(plugins - {"zlib", "mail_compress", "mail_crypt", "mail_crypt_acl"} - indexes):
        if plugin not in PLUGINS_HARMLESS.split():
            why = meaning(plugin, PLUGINS) or "there is no such plugin here"
            reading.out.tell(f"mail_plugins: {plugin}", why)


def _format(reading: DovecotReading, plugins: set[str]) -> None:
    """Messages that are not on the disk as they came."""
    out = reading.out
    packed = plugins & {"zlib", "mail_compress"}
    # Without the plugin they are no more than what stands in the file.
    found = reading.take_plugins(r"zlib_save|mail_compress_write_method") if packed else []
    writes = [setting for setting in found if setting.value]
    for setting in writes[:1]:
        name, _, _ = setting.value.partition("-")
        try:
            out.settings["compress_mail"] = BY_NAME["compress_mail"].check(name)
        except ValueError:
            out.tell(setting.name, f"new messages are not compressed, for {setting.value} is only read here")
    if plugins & {"mail_crypt", "mail_crypt_acl"}:
        out.refuse(
            "mail_plugins: mail_crypt", "messages that are encrypted on the disk cannot be read: decrypt them first"
        )


def _quota(reading: DovecotReading, plugins: set[str]) -> None:
    out = reading.out
    rules = reading.take_plugins(r"quota_rule\d*")
    roots = reading.take_plugins(r"quota\d*")
    blocks = reading.root.all("quota")
    new = {
        ours: next((said for block in [*blocks, reading.root] if (said := reading.take(block, theirs))), "")
        for theirs, ours in (
            ("quota_storage_size", "quota_storage"),
            ("quota_message_count", "quota_messages"),
            ("quota_mailbox_count", "quota_mailboxes"),
        )
    }
    for block in blocks:
        reading.take(block, "driver")
    if "quota" not in plugins:
        if rules or any(new.values()):
            out.tell("quota", "the plugin is not loaded for IMAP, so that nobody has a limit; nor is there one here")
        return
    for name in [root.name for root in roots[1:]] + [str(block) for block in blocks[1:]]:
        out.tell(name, "there is one quota a user")
    for root in roots[:1]:
        _root(reading, root)
    for rule in rules:
        _rule(reading, rule)
    for ours, value in new.items():
        if value not in ("", "0", "unlimited"):
            _set(reading, ours, value)


def _root(reading: DovecotReading, root: DovecotSetting) -> None:
    driver = root.value.partition(":")[0]
    if driver in ("dict", "fs", "imapc"):
        why = f"what users take up is counted in {root.value}; here it is counted anew, and kept in maildirsize"
        reading.out.tell(root.name, why)


def _rule(reading: DovecotReading, rule: DovecotSetting) -> None:
    out = reading.out
    mailbox, _, limits = rule.value.replace("?:", "*:", 1).partition(":")
    try:
        limit = quota_rule(f"{mailbox}:{limits}")
    except ValueError:
        out.tell(f"{rule.name} = {rule.value}", "it is no part of the quota here, which counts all mailboxes alike")
        return
    for ours, value in (("quota_storage", limit.octets), ("quota_messages", limit.messages)):
        if value:
            out.settings[ours] = _short(value) if ours == "quota_storage" else value


def _short(octets: int) -> str:
    """A size as an administrator would write it."""
    for power, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if octets % (1 << power) == 0:
            return f"{octets >> power}{unit}"
    return str(octets)


def _rights(reading: DovecotReading, plugins: set[str]) -> None:
    """Lists of rights hold where Dovecot keeps to them."""
    out = reading.out
    drivers = reading.take_plugins(r"acl|acl_driver")
    if "acl" not in plugins:
        out.settings["acl"] = False
    for setting in drivers:
        if ":/" in setting.value:
            why = "access rights are read from dovecot-acl in each mailbox alone: put them there"
            out.tell(f"{setting.name} = {setting.value}", why)
    for setting in reading.take_plugins(r"acl_globals_only|acl_global_path"):
        out.tell(setting.name, "access rights are read from dovecot-acl in each mailbox alone: put them there")


def _limits(reading: DovecotReading) -> None:
    out = reading.out
    fsync = reading.take_imap("mail_fsync")
    if fsync:
        out.settings["fsync"] = fsync if fsync in ("always", "never") else "delivery"
    if is_on(reading.take(reading.root, "mail_nfs_storage")):
        out.settings["shared_spool"] = "yes"
    reading.take(reading.root, "mail_nfs_index")
    for theirs, ours in (
        ("mail_max_userip_connections", "connections_per_user_and_address"),
        ("imap_max_line_length", "line_limit"),
        ("imap_idle_notify_interval", "idle_keepalive"),
        ("login_greeting", "greeting"),
        ("quota_mail_size", "append_limit"),
        ("auth_failure_delay", "auth_failure_delay"),
    ):
        if value := reading.take_imap(theirs):
            _set(reading, ours, value)
            if ours == "connections_per_user_and_address":
                # There a user may have as many as he likes, from so many addresses.
                out.settings["connections_per_user"] = 0
    if "add-flags" in (reading.take(reading.root, "mail_attachment_detection_options") or ""):
        out.settings["attachment_keywords"] = True
    for setting in reading.take_plugins(r"quota_max_mail_size"):
        _set(reading, "append_limit", setting.value)


def _set(reading: DovecotReading, ours: str, value: str) -> None:
    """Take a value over if it is one of ours, too."""
    short = re.sub(r"^(\d+(?:\.\d+)?)\s*([a-z])[a-z]*$", r"\1\2", value, flags=re.IGNORECASE)
    short = short if ours != "greeting" else value
    if ours in ("quota_storage", "append_limit", "line_limit"):
        short = short.upper()
    try:
        BY_NAME[ours].check(short)
    except ValueError as error:
        reading.out.tell(f"{ours} ({value})", f"it {error} here")
    else:
        reading.out.settings[ours] = int(short) if short.isdigit() and ours != "greeting" else short
