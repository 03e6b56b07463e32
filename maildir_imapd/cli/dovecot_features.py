"""Dovecot's plugins, limits and other features that there are here as well, or that users will look for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from maildir_imapd.cli.dovecot_config import DovecotBlock, DovecotSetting
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
    _urls(reading)
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
    general = reading.take_plugins(r"acl_global_path")
    switches = reading.take_plugins(r"acl_globals_only|acl_defaults_from_inbox")
    lists = reading.take_plugins(r"acl_shared_dict")
    anyone = reading.take_plugins(r"acl_anyone|imap_acl_allow_anyone")
    for where, block in [each for outer in (reading.root, *reading.root.all("namespace")) for each in _acls(outer)]:
        line = f"{where} {block.name} {reading.take(block, 'rights', 'acl_rights')}"
        out.tell(f"acl {block.name}", f"write a file with the line {line!r} in it, and name it with acl_global")
    shared = _shared_path(reading, lists)
    if "acl" not in plugins:
        out.settings["acl"] = False
        return
    for setting in drivers:
        path = re.sub(r":cache_secs=\d+$", "", setting.value.partition(":")[2])
        if path.startswith("/"):
            out.settings["acl_global"] = path
    for setting in general:
        if setting.value:
            out.settings["acl_global"] = setting.value
    for setting in switches:
        if is_on(setting.value):
            out.settings[setting.name] = True
    if shared is not None:
        out.settings["acl_shared_list"] = shared
    if any(setting.value == "allow" or is_on(setting.value) for setting in anyone):
        out.settings["acl_anyone"] = "yes"


def _acls(block: DovecotBlock) -> Iterator[tuple[str, DovecotBlock]]:
    """Yield what 2.4 says of rights in blocks, with the mailboxes that it is about."""
    prefix = block.get("prefix") if block.kind == "namespace" else ""
    yield from ((f"{prefix}*", inner) for inner in block.all("acl"))
    for mailbox in block.all("mailbox"):
        name = prefix + mailbox.name
        yield from ((f'"{name}"' if " " in name else name, inner) for inner in mailbox.all("acl"))


def _shared_path(reading: DovecotReading, lists: list[DovecotSetting]) -> str | None:
    """Find the list of who shares with whom: the same file, if it is one."""
    found = [(setting.name, setting.value) for setting in lists if setting.value]
    for block in reading.root.all("acl_sharing_map"):
        for inner in block.all("dict"):
            driver = reading.take(inner, "driver") or inner.name
            found.append(("acl_sharing_map", f"{driver}:{reading.take(inner, 'path', 'dict_file_path')}"))
        driver = reading.take(block, "dict_driver")
        if driver:
            found.append(("acl_sharing_map", f"{driver}:{reading.take(block, 'dict_file_path')}"))
    for name, value in found:
        driver, _, path = value.partition(":")
        if driver == "file" and path.startswith("/"):
            return path.partition(":")[0]
        why = "who shares with whom is kept in a file here: name one with acl_shared_list, and make it with "
        reading.out.tell(f"{name} = {value}", why + "maildir-imapd acl rebuild")
    return None


def _urls(reading: DovecotReading) -> None:
    """URLs that let others read a message."""
    host = reading.take_imap("imap_urlauth_host")
    port = reading.take_imap("imap_urlauth_port") or "143"
    submitter = reading.take_imap("imap_urlauth_submit_user")
    if not host:
        return
    if host != "*" and port != "143":
        host = f"{host}:{port}"
    try:
        BY_NAME["urlauth_host"].check(host)
    except ValueError as error:
        reading.out.tell(f"imap_urlauth_host ({host})", f"it {error} here")
        return
    reading.out.settings["urlauth_host"] = [host]
    if submitter:
        reading.out.settings["urlauth_submit_user"] = [submitter]


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
