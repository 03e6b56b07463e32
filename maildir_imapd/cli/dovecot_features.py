"""Dovecot's plugins, limits and other features that there are here as well, or that users will look for."""

from __future__ import annotations

from maildir_imapd.cli.dovecot_quota import quota
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
    quota(reading, plugins)
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
        out.settings["watch"] = "poll"
    reading.take(reading.root, "mail_nfs_index")
    for theirs, ours in (
        ("mail_max_userip_connections", "connections_per_user_and_address"),
        ("imap_max_line_length", "line_limit"),
        ("imap_idle_notify_interval", "idle_keepalive"),
        ("login_greeting", "greeting"),
        ("auth_failure_delay", "auth_failure_delay"),
    ):
        if value := reading.take_imap(theirs):
            reading.carry(ours, value)
            if ours == "connections_per_user_and_address":
                # There a user may have as many as he likes, from so many addresses.
                out.settings["connections_per_user"] = 0
    if "add-flags" in (reading.take(reading.root, "mail_attachment_detection_options") or ""):
        out.settings["attachment_keywords"] = True
    largest = reading.take_imap("quota_mail_size")
    for value in [largest] if largest else [each.value for each in reading.take_plugins(r"quota_max_mail_size")]:
        # There it is of all ways in.
        reading.carry("append_limit", value)
        reading.carry("delivery_limit", value)
