"""Dovecot's quotas: limits, rules for single mailboxes, grace and warnings, as 2.3 and 2.4 have them."""

from __future__ import annotations

import re
import shlex

from maildir_imapd.auth.fields import quota_rule
from maildir_imapd.cli.dovecot_config import DovecotBlock, DovecotSetting
from maildir_imapd.cli.dovecot_reading import DovecotReading, is_on, translated
from maildir_imapd.config import BY_NAME
from maildir_imapd.quota_values import QuotaException, exception_of_dovecot

# What 2.4 lets the last message take, where nothing is said; 2.3 has what we have.
_GRACE_2_4 = "10M"
_WARNING = re.compile(r"([+-]?)(storage|messages|bytes)=(\d+)%{1,2}(?:\s+noenforcing)?\s+(\S+)\s*(.*)").fullmatch


def quota(reading: DovecotReading, plugins: set[str]) -> None:
    """Carry quotas over, where the plugin is loaded."""
    out = reading.out
    rules = reading.take_plugins(r"quota_rule\d*")
    roots = reading.take_plugins(r"quota\d*")
    warnings = reading.take_plugins(r"quota_warning\d*")
    grace = next((setting.value for setting in reading.take_plugins(r"quota_grace")), "")
    blocks = reading.root.all("quota")
    new = {
        ours: next((said for block in [*blocks, reading.root] if (said := reading.take(block, theirs))), "")
        for theirs, ours in (
            ("quota_storage_size", "quota_storage"),
            ("quota_message_count", "quota_messages"),
            ("quota_mailbox_count", "quota_mailboxes"),
            ("quota_storage_grace", "quota_grace"),
        )
    }
    for setting in reading.take_plugins(r"quota_mailbox_count"):
        new["quota_mailboxes"] = new["quota_mailboxes"] or setting.value
    for block in blocks:
        reading.take(block, "driver")
    exceptions = _exceptions_of_blocks(reading)
    warned = _warnings_of_blocks(reading, blocks)
    if "quota" not in plugins:
        if rules or any(new.values()):
            out.tell("quota", "the plugin is not loaded for IMAP, so that nobody has a limit; nor is there one here")
        return
    for name in [root.name for root in roots[1:]] + [str(block) for block in blocks[1:]]:
        out.tell(name, "there is one quota a user")
    for root in roots[:1]:
        _root(reading, root)
    for rule in rules:
        exceptions += _rule(reading, rule)
    if blocks and not new["quota_grace"]:
        new["quota_grace"] = _GRACE_2_4
    new["quota_grace"] = new["quota_grace"] or grace.replace("%%", "%")
    for ours, value in new.items():
        if value not in ("", "unlimited") and (value != "0" or ours == "quota_grace"):
            reading.carry(ours, value)
    _put(reading, "quota_exceptions", exceptions)
    _put(reading, "quota_warnings", [*_warnings(reading, warnings), *warned])


def warning_services(reading: DovecotReading) -> set[str]:
    """Name the services that are run for warnings."""
    found = [_WARNING(setting.value.strip()) for setting in reading.take_plugins(r"quota_warning\d*")]
    names = {match[4] for match in found if match is not None}
    return names | {
        execute.name
        for block in reading.root.all("quota")
        for warning in block.all("warning", "quota_warning")
        for execute in warning.all("execute")
    }


def _put(reading: DovecotReading, ours: str, written: list[str]) -> None:
    if written:
        reading.out.settings[ours] = list(dict.fromkeys(written))


def _root(reading: DovecotReading, root: DovecotSetting) -> None:
    driver = root.value.partition(":")[0]
    if driver in ("dict", "fs", "imapc"):
        why = f"what users take up is counted in {root.value}; here it is counted anew, and kept in maildirsize"
        reading.out.tell(root.name, why)


def _rule(reading: DovecotReading, rule: DovecotSetting) -> list[str]:
    """Carry over a rule of 2.3: that for all mailboxes is a limit, one for a single mailbox an exception."""
    out = reading.out
    mailbox, _, limits = rule.value.replace("?:", "*:", 1).partition(":")
    if mailbox != "*":
        return _exception(reading, f"{rule.name} = {rule.value}", rule.value)
    try:
        limit = quota_rule(f"{mailbox}:{limits}")
    except ValueError:
        out.tell(f"{rule.name} = {rule.value}", "a limit is a size, or a number of messages")
        return []
    for ours, value in (("quota_storage", limit.octets), ("quota_messages", limit.messages)):
        if value:
            out.settings[ours] = short(value) if ours == "quota_storage" else value
    return []


def _exception(reading: DovecotReading, name: str, written: str) -> list[str]:
    try:
        found = exception_of_dovecot(_unprefixed(reading, written), _separator(reading))
    except ValueError as error:
        reading.out.tell(name, f"the mailbox counts as all others, for {error}")
        return []
    return [_written(found)]


def _separator(reading: DovecotReading) -> str:
    """Return the delimiter of names, as far as it has been read."""
    settings = reading.out.settings
    fs = "LAYOUT=fs" in settings.get("mail_location", "")
    return str(settings.get("delimiter") or ("/" if fs else "."))


def _unprefixed(reading: DovecotReading, written: str) -> str:
    prefix = reading.out.settings.get("prefix", "none")
    return written.removeprefix(prefix) if prefix not in ("none", "auto") else written


def _written(found: QuotaException) -> str:
    """Write an exception as our setting has it."""
    name = "/".join(found.levels)
    if found.ignored:
        return f"{name}: ignore"
    words = []
    for kind, number, percent in (
        ("storage", found.storage, found.storage_percent),
        ("messages", found.messages, found.messages_percent),
    ):
        if percent:
            words.append(f"{kind}=+{percent}%")
        elif number:
            words.append(f"{kind}=+{short(number) if kind == 'storage' else number}")
    return f"{name}: {', '.join(words) or 'storage=+0'}"


def _exceptions_of_blocks(reading: DovecotReading) -> list[str]:
    """Carry over what 2.4 says of quotas in blocks of mailboxes."""
    found: list[str] = []
    for namespace in reading.root.all("namespace"):
        for block in namespace.all("mailbox"):
            ignored = is_on(reading.take(block, "quota_ignore"))
            extra = reading.take(block, "quota_storage_extra").replace(" ", "")
            percents = {
                kind: reading.take(block, f"quota_{theirs}_percentage")
                for kind, theirs in (("storage", "storage"), ("messages", "message"))
            }
            words = [f"storage=+{extra}"] if extra not in ("", "0") else []
            for kind, percent in percents.items():
                # There it is how high the limit is, here by how much it is higher.
                if percent.isdigit() and int(percent) > 100 and not (kind == "storage" and words):
                    words.append(f"{kind}=+{int(percent) - 100}%")
                elif percent not in ("", "100"):
                    reading.out.tell(
                        f"mailbox {block.name}/quota_{kind}_percentage", "a mailbox has more room, or none"
                    )
            if ignored or words:
                found += _exception(reading, f"mailbox {block.name}", ":".join([block.name, *(words or ["ignore"])]))
    return found


def _warnings(reading: DovecotReading, warnings: list[DovecotSetting]) -> list[str]:
    found = []
    for setting in warnings:
        match = _WARNING(setting.value.strip())
        if match is None:
            reading.out.tell(
                f"{setting.name} = {setting.value}", "no program is run for it: a threshold is a percent of the limit"
            )
            continue
        sign, _, percent, service, args = match.groups()
        found += _warning(reading, setting.name, percent, service, args, under=sign == "-")
    return found


def _warnings_of_blocks(reading: DovecotReading, blocks: list[DovecotBlock]) -> list[str]:
    found = []
    for block in blocks:
        for warning in block.all("warning", "quota_warning"):
            percents = [
                reading.take(warning, f"quota_{kind}_percentage", f"{kind}_percentage")
                for kind in ("storage", "message")
            ]
            under = reading.take(warning, "threshold", "quota_warning_threshold") == "under"
            reading.take(warning, "resource", "quota_warning_resource")
            percent = next(filter(None, percents), "100")
            for execute in warning.all("execute")[:1]:
                args = reading.take(execute, "args", "execute_args")
                found += _warning(reading, f"quota_warning {warning.name}", percent, execute.name, args, under=under)
            reading.pass_over(warning)
    return found


def _warning(reading: DovecotReading, name: str, percent: str, service: str, args: str, *, under: bool) -> list[str]:
    """Carry over a warning: its service is a script, which is run here by itself."""
    program = next(
        (block.get("executable") for block in reading.root.all("service") if block.name == service), ""
    ).split()
    if len(program) < 2 or program[0] != "script":
        reading.out.tell(name, f"no program is run when a quota is {percent} percent full: {service} is no script here")
        return []
    command = shlex.join([*program[1:], *translated(args.replace("%%", "%")).split()])
    written = f"{'under ' * under}{percent}:{command}"
    try:
        BY_NAME["quota_warnings"].check(written)
    except ValueError as error:
        reading.out.tell(f"{name}: {written}", f"no program is run for it, for it {error}")
        return []
    reading.out.tell(name, "its program is run as the owner of the mail")
    return [written]


def short(octets: int) -> str:
    """A size as an administrator would write it."""
    for power, unit in ((40, "T"), (30, "G"), (20, "M"), (10, "K")):
        if octets % (1 << power) == 0:
            return f"{octets >> power}{unit}"
    return str(octets)
