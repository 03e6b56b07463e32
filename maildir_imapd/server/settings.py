"""From the configuration to values: the one place of ``server`` that knows what a setting means for a worker.

Each function reads its settings, and files that they name, and keeps nothing; whoever made a value hands it down whole.
What it makes values of it imports itself: a command that needs two of them does not load the whole server.
"""

from __future__ import annotations

import grp
import hashlib
import hmac
import os
import pwd
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from maildir_imapd import log as logs
from maildir_imapd.budget import Budget
from maildir_imapd.errors import ConfigError
from maildir_imapd.store.threads.longlived import no_beat

if TYPE_CHECKING:
    from maildir_imapd.auth.beside import Asks
    from maildir_imapd.auth.chain import Chain, FailureCount
    from maildir_imapd.auth.last_use import LastUse
    from maildir_imapd.config import Config
    from maildir_imapd.imap.policy import Policy, UrlRules
    from maildir_imapd.server.accounts import Mail
    from maildir_imapd.server.confine import Confinement
    from maildir_imapd.server.door import Logins, Room
    from maildir_imapd.server.exports import Exports
    from maildir_imapd.server.extracting import Extracting
    from maildir_imapd.server.hints import Hints
    from maildir_imapd.server.hook import Hook
    from maildir_imapd.server.last_logins import LastLogins
    from maildir_imapd.server.listening import SocketRights
    from maildir_imapd.server.lmtp_rules import LmtpRules
    from maildir_imapd.server.new_device import DeviceMessage
    from maildir_imapd.server.probed import Probed
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.watch import Watcher
    from maildir_imapd.values import Endpoint, MailHost, Network

# For large messages, however small the machine: what the least memory_limit gives.
LEAST_LARGE_OCTETS: Final = 32 << 20
# From where mail is taken by LMTP if nothing else is said.
LOOPBACK: Final = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
# Last logins that are remembered, for each last use of a device: 80 000.
_USERS_ROOM: Final = 8
_MACHINE_ID: Final = "/etc/machine-id"


# --- the connection -------------------------------------------------------------------------------


def logins(config: Config) -> Logins:
    """Say how clients may log in."""
    from maildir_imapd.server import back_ends
    from maildir_imapd.server.door import Logins

    scope, discovery = back_ends.tokens(config)
    anonymous = config.auth_anonymous_user or None
    return Logins(config.auth_mechanisms, config.tls_client_name, anonymous, scope, discovery)


@dataclass(frozen=True, slots=True)
class ListeningPlace:
    """Where to listen; *service* and the others as of ``worker.Acceptor``."""

    address: Endpoint | str
    """A path where it is a str."""
    service: str = "imap"
    implicit_tls: bool = False
    proxy: bool = False
    asked: bool = False


def listening(config: Config) -> list[ListeningPlace]:
    """Where to listen, and how."""
    return [
        *(ListeningPlace(address) for address in config.imap),
        *(ListeningPlace(address, implicit_tls=True) for address in config.imaps),
        *(ListeningPlace(address, proxy=True) for address in config.imap_proxy),
        *(ListeningPlace(address, implicit_tls=True, proxy=True) for address in config.imaps_proxy),
        *(ListeningPlace(place, "auth", asked=True) for place in config.auth_socket),
        *(ListeningPlace(place, "lookup", asked=True) for place in config.lookup_socket),
        *(ListeningPlace(place, "policy", asked=True) for place in config.policy_socket),
        *(ListeningPlace(place, "lmtp", asked=True) for place in config.lmtp_listen),
        *(ListeningPlace(place, "auth_http", asked=True) for place in config.auth_http_listen),
    ]


def socket_rights(config: Config) -> SocketRights:
    """Read whose the sockets are that are made for other programs."""
    from maildir_imapd.server.listening import SocketRights

    return SocketRights(config.socket_mode, config.socket_owner, config.socket_group)


def lmtp(config: Config) -> LmtpRules:
    """Read how mail is taken by LMTP."""
    from maildir_imapd.lmtp.answers import FULL, FULL_NOW
    from maildir_imapd.lmtp.dialogue import LmtpPolicy
    from maildir_imapd.server.lmtp_rules import LmtpRules

    host = socket.gethostname()
    rules = LmtpRules(
        policy=LmtpPolicy(
            host=host if host.isascii() and host.isprintable() and " " not in host else "localhost",
            octets=config.delivery_limit,
            recipients=config.lmtp_recipients,
        ),
        networks=tuple(config.lmtp_networks) or LOOPBACK,
        delimiters=config.recipient_delimiter.encode("ascii"),
        over_quota=FULL if config.delivery_over_quota == "reject" else FULL_NOW,
        works_ahead=works_ahead(config),
    )
    if not config.attachment_keywords:
        return rules
    # A command that delivers begins sooner without it.
    from maildir_imapd.imap.columns.attached import keywords_of

    return replace(rules, keywords=keywords_of)


def proxies(config: Config) -> tuple[Network, ...]:
    """Read who may say by the PROXY protocol whose connection it is."""
    return tuple(config.proxy_networks)


def webmail(config: Config) -> tuple[Network, ...]:
    """Read who may say by ID for whom it comes, and send passwords as they are."""
    return tuple(config.login_trusted_networks)


def demand_listening(config: Config, inherited: Sequence[ListeningPlace] = ()) -> None:
    """Raise ConfigError where the settings make no server; *inherited*: what was bound for it already."""
    from maildir_imapd.server import tls

    places = [*inherited, *listening(config)]
    if not places:
        raise ConfigError(
            "nothing to listen on: give --imap HOST:PORT or --imaps HOST:PORT, "
            "or set imap or imaps in the configuration file"
        )
    if not tls.wanted(config) and any(place.implicit_tls for place in places):
        raise ConfigError("imaps needs a certificate: set tls_cert (and tls_key)")
    if any(place.proxy for place in places) and not proxies(config):
        raise ConfigError("imap_proxy and imaps_proxy need proxy_networks: the addresses of the proxies")
    if any(place.service == "auth_http" for place in places) and not config.hosts:
        raise ConfigError("auth_http_listen needs hosts: those to which users go")
    if len({host.name for host in config.hosts}) < len(config.hosts):
        raise ConfigError("hosts has one name twice")
    if config.last_login_file is not None and config.last_login_file == config.auth_device_used_file:
        raise ConfigError("last_login_file and auth_device_used_file must be two files")


def room(config: Config) -> Room:
    """How many connections a worker has room for."""
    from maildir_imapd.server.door import Room

    return Room(
        connections=config.connections,
        connections_before_login=config.connections_before_login,
        connections_per_address=config.connections_per_address,
        connections_per_user=config.connections_per_user,
        connections_per_user_and_address=config.connections_per_user_and_address,
    )


def server_metadata(config: Config) -> tuple[tuple[bytes, bytes], ...]:
    """Read what the server tells of itself; raises ConfigError."""
    from maildir_imapd.store.records.metadata import parse_server

    if config.server_metadata is None:
        return ()
    try:
        with open(config.server_metadata, "rb") as file:
            return parse_server(file.read())
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"server_metadata {config.server_metadata}: {reason}") from error


def demand_what_workers_need(config: Config) -> None:
    """Raise ConfigError for what only a worker makes, and each of them would fail at."""
    demand_acl_global(config)
    hints(config, lambda _folder: None)


def demand_acl_global(config: Config) -> None:
    """Raise ConfigError where the rights that an administrator says of mailboxes cannot be read."""
    from maildir_imapd.errors import StoreError
    from maildir_imapd.store.records.acl_global import GlobalAcls

    if config.acl_global is None or not config.acl:
        return
    try:
        GlobalAcls(os.fsencode(config.acl_global)).demand()
    except (OSError, ValueError, StoreError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"acl_global {config.acl_global}: {reason}") from error


def policy(
    config: Config,
    *,
    tls: bool,
    loopback: bool,
    compress: bool = True,
    metadata: tuple[tuple[bytes, bytes], ...] = (),
) -> Policy:
    """Read the settings that an IMAP session goes by; *metadata* is what ``server_metadata`` gave."""
    from maildir_imapd.imap.policy import Policy
    from maildir_imapd.wire.buffer import Limits

    return Policy(
        greeting=config.greeting,
        tls_available=tls,
        plaintext_login=config.plaintext_login == "loopback" and loopback,
        login_timeout=config.login_timeout,
        idle_timeout=config.idle_timeout,
        idle_keepalive=config.idle_keepalive,
        compress=compress,
        append_limit=config.append_limit,
        message_limit=config.message_limit or 0,
        save_limit=config.save_limit or 0,
        utf8=config.utf8,
        server_metadata=metadata,
        acl=config.acl,
        acl_anyone=_anyone(config),
        attachment_keywords=config.attachment_keywords,
        xlist=config.xlist,
        language=config.language,
        urls=_urls(config),
        quota_set=config.quota_set,
        slow_command=config.slow_command,
        after_login=Limits(
            line=config.line_limit,
            literal=config.literal_limit,
            command=config.line_limit + 4 * config.literal_limit,
        ),
    )


def _urls(config: Config) -> UrlRules | None:
    """Read how URLs let others read; None where none do."""
    from maildir_imapd.imap.policy import UrlRules

    if not config.urlauth_host:
        return None
    return UrlRules(
        hosts=frozenset((each.host, each.port) for each in config.urlauth_host),
        anywhere=any(each.host == "*" for each in config.urlauth_host),
        submitters=frozenset(config.urlauth_submit_user),
        anonymous=config.auth_anonymous_user or None,
    )


# --- users and mail -------------------------------------------------------------------------------


def chain(config: Config, failures: FailureCount | None = None, asks: Asks | None = None) -> Chain:
    """Open the back ends, in their order; raises ConfigError.

    *failures*: where wrong passwords are counted; *asks*: as of ``back_ends.opened``.
    """
    from maildir_imapd.auth.chain import Chain
    from maildir_imapd.server import back_ends

    remember = config.auth_cache_time
    return Chain(
        back_ends.opened(config, remember=remember, asks=asks),
        remember=remember,
        delay=config.auth_failure_delay,
        failures=failures,
        spelling=back_ends.spelling(config),
        salt_key=_salt_key(),
        masters=back_ends.masters(config),
        devices=back_ends.devices(config),
    )


def last_use(config: Config) -> LastUse | None:
    """Open the file in which the last use of each device is kept."""
    from maildir_imapd.auth.last_use import LastUse

    path = config.auth_device_used_file
    return None if path is None else LastUse(path)


def last_login(config: Config) -> LastUse | None:
    """Open the file in which the last login of each user is kept."""
    from maildir_imapd.auth.last_use import LastUse

    path = config.last_login_file
    return None if path is None else LastUse(path, room=_USERS_ROOM)


def last_logins(config: Config) -> LastLogins | None:
    """Make what tells a database of logins; raises ConfigError."""
    from maildir_imapd.server import back_ends

    told = back_ends.last_login(config)
    if told is None:
        return None
    from maildir_imapd.server.last_logins import LastLogins

    return LastLogins(told)


def hints(config: Config, heard: Callable[[int], None]) -> Hints | None:
    """Make what tells other hosts of changes, and hears of theirs; None where there is none.  Raises ConfigError."""
    if config.hint_server is None or config.shared_spool == "no":
        return None
    from maildir_imapd.server.hints import Hints

    return Hints(config.hint_server, heard)


def new_device(config: Config) -> DeviceMessage | None:
    """Make the message about a new device; None where there is none.  Raises ConfigError."""
    from maildir_imapd.server.new_device import DeviceMessage

    chosen = config.new_device_message
    if chosen in ("no", "yes"):
        return DeviceMessage() if chosen == "yes" else None
    try:
        text = Path(chosen).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"new_device_message {chosen}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}"
        ) from error
    return DeviceMessage(text)


def _salt_key() -> bytes:
    """Make what salts for unknown users come from: the same in all workers and after each start; b"" for no such.

    systemd says of the machine's id that it is confidential, and that it is to be used as a key, as it is here.
    """
    try:
        with open(_MACHINE_ID, "rb") as file:
            machine = file.read(64).strip()
    except OSError:
        return b""
    return hmac.digest(machine, b"maildir-imapd salts", hashlib.sha256) if machine else b""


def _anyone(config: Config) -> bool:
    """Whether users may give rights to everybody."""
    if config.acl_anyone != "auto":
        return bool(config.acl_anyone == "yes")
    return not any(rule.type == "others" for rule in mail(config).namespaces)


def keeping(config: Config, hint: Callable[[int], None] | None = None) -> Keeping:
    """Read how folders are kept; *hint* as of Keeping."""
    from maildir_imapd.store.folder.keeping import Keeping
    from maildir_imapd.store.maildir import packed

    if not packed.can_write(config.compress_mail):
        raise ConfigError("compress_mail = zstd needs the library zstandard: install maildir-imapd[compress]")
    return Keeping(
        fsync=config.fsync,
        mirror=config.mirror,
        compress_mail=config.compress_mail,
        follow_links=config.follow_links,
        coexist=config.coexist,
        shared_spool=config.shared_spool,
        hint=hint,
    )


def mail(config: Config, *, hint: Callable[[int], None] | None = None) -> Mail:
    """Read where the mail is, and whose; *hint* as of Keeping.  Raises ConfigError."""
    from maildir_imapd import namespace_rules
    from maildir_imapd.server import quotas, usual
    from maildir_imapd.server.accounts import Mail
    from maildir_imapd.server.sharing import SharingSettings
    from maildir_imapd.virtual_rules import USUAL

    namespace_rules.check(config.namespaces, acl=config.acl)
    _check_virtual(config)
    sharing = SharingSettings(rights=False)
    if config.acl:
        sharing = SharingSettings(
            shared_list=config.acl_shared_list,
            acl_global=config.acl_global,
            files=not config.acl_globals_only,
            from_inbox=config.acl_defaults_from_inbox,
        )
    return Mail(
        location=config.mail_location,
        user=config.mail_user,
        marker=None if config.spool_marker is None else os.fsencode(config.spool_marker),
        delimiter=config.delimiter,
        prefix=config.prefix,
        keeping=keeping(config, hint),
        quotas=quotas.of_settings(config),
        search_index=config.search_index,
        hooked=frozenset(folder for folder, _ in config.hook_moved),
        keep_expunged=config.keep_expunged,
        namespaces=config.namespaces,
        virtual=config.virtual_mailboxes or USUAL,
        lists=config.acl,
        keep_expunged_storage=config.keep_expunged_storage,
        usual=None if config.mailboxes is None else usual.of_rules(config.mailboxes),
        sharing=sharing,
    )


def hosts(config: Config) -> tuple[MailHost, ...]:
    """Read which hosts there are."""
    return tuple(config.hosts)


def probed(config: Config) -> Probed:
    """Read which directories say whether the spool answers."""
    from maildir_imapd.location import parse
    from maildir_imapd.server.probed import Probed, beginnings

    said, marker = config.spool_probe, None if config.spool_marker is None else os.fsencode(config.spool_marker)
    if said == ("no",):
        return Probed()
    named = said not in ((), ("auto",))
    paths = [os.fsencode(path) for path in said] if named else beginnings(parse(config.mail_location).path)
    return Probed(tuple(dict.fromkeys(paths)), config.spool_timeout, named, marker)


def _check_virtual(config: Config) -> None:
    """Raise ConfigError for a virtual mailbox that cannot be."""
    if not config.virtual_mailboxes:
        return
    from maildir_imapd.imap.search.virtual import read

    names = set()
    for rule in config.virtual_mailboxes:
        name = rule.name("/")
        try:
            read(rule.written("/"))
        except ValueError as error:
            raise ConfigError(f"virtual_mailboxes: {name}: {error}") from None
        if name in names:
            raise ConfigError(f"virtual_mailboxes has {name} twice")
        names.add(name)


def hooks(config: Config) -> tuple[Hook, ...]:
    """Read which commands are run for messages that are moved."""
    from maildir_imapd.server.hook import Hook

    return tuple(Hook(folder, command) for folder, command in config.hook_moved)


def works_ahead(config: Config) -> bool:
    """Whether fields of messages are worked out before clients ask for them."""
    return bool(config.cache_ahead)


def extracting(config: Config) -> Extracting:
    """Read which programs make texts of attachments."""
    from maildir_imapd.server.extracting import Extracting

    return Extracting(dict(config.search_extract), landlock=config.landlock)


def watcher(config: Config, beat: Callable[[], None] = no_beat) -> Watcher:
    """Make what watches folders; its thread begins with the first of them, or by ``start``."""
    from maildir_imapd.store.watch import Watcher

    return Watcher(config.watch, interval=config.poll_interval, beat=beat, shared=config.shared_spool == "yes")


# --- who may look and change ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ControlRights:
    """Where the control socket is, and who may do what there; by numbers of users and groups."""

    path: str | None
    """None: where it is if nothing is said; "": nowhere."""
    admins: frozenset[int] = frozenset()
    admin_groups: frozenset[int] = frozenset()
    readers: frozenset[int] = frozenset()
    reader_groups: frozenset[int] = frozenset()

    @property
    def mode(self) -> int:
        """Of the socket: all may connect where others than its user may come in, and are asked who they are."""
        return 0o666 if self.admins or self.admin_groups or self.readers or self.reader_groups else 0o600

    def may_change(self, uid: int, groups: Collection[int]) -> bool:
        """Whether somebody may ask everything."""
        return uid in (0, os.geteuid()) or uid in self.admins or not self.admin_groups.isdisjoint(groups)

    def may_read(self, uid: int, groups: Collection[int]) -> bool:
        """Whether he may look."""
        return uid in self.readers or not self.reader_groups.isdisjoint(groups)


def control(config: Config) -> ControlRights:
    """Read who may come to the control socket; raises ConfigError."""
    path = {"auto": None, "none": ""}.get(config.control_socket, config.control_socket)
    admins, admin_groups = _numbers("control_admins", config.control_admins)
    return ControlRights(path, admins, admin_groups, *_numbers("control_readers", config.control_readers))


def _numbers(setting: str, names: tuple[str, ...]) -> tuple[frozenset[int], frozenset[int]]:
    users, groups = set(), set()
    for name in names:
        try:
            if name.startswith("@"):
                groups.add(grp.getgrnam(name[1:]).gr_gid)
            else:
                users.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            what = f"group {name[1:]!r}" if name.startswith("@") else f"user {name!r}"
            raise ConfigError(f"{setting}: there is no {what}") from None
    return frozenset(users), frozenset(groups)


def exports(config: Config) -> Exports:
    """Read where figures are served; raises ConfigError."""
    import importlib.util

    from maildir_imapd.server.exports import Exports

    if config.metrics_listen and importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError(
            "metrics_listen needs the library prometheus_client: install maildir-imapd[metrics], "
            "or Debian's python3-prometheus-client"
        )
    if config.status_page and not config.metrics_listen:
        raise ConfigError("status_page needs metrics_listen: where the page is to be")
    return Exports(config.metrics_listen, config.status_page, socket_rights(config), confinement(config))


def rawlog_directory(config: Config) -> str | None:
    """Where dialogues are written down."""
    return None if config.rawlog_dir is None else os.path.abspath(config.rawlog_dir)


def set_up_log(config: Config) -> None:
    """Send the log where the settings say; raises ConfigError."""
    logs.set_up(config.log_level, config.log_file, style=config.log_format, target=config.log_target)


# --- the process ----------------------------------------------------------------------------------


def budget(config: Config) -> Budget:
    """Say what large messages may take of a worker's memory.

    Half of what it may have: the rest is for mailboxes, threads, and all that is small. Where nothing is said, what it
    may have is its part of half the machine, or of half the group of processes that it is in: with more the system
    would kill, and everybody's connections would go with it.
    """
    from maildir_imapd.server import memory

    whole = config.memory_limit
    if whole is None:
        whole = memory.machine_octets() // 2 // config.workers
    return Budget(max(whole // 2, LEAST_LARGE_OCTETS))


def confinement(config: Config) -> Confinement:
    """Read what a process gives up before it hears a client."""
    from maildir_imapd.server import back_ends
    from maildir_imapd.server.confine import Confinement

    return Confinement(
        drop_capabilities=config.drop_capabilities,
        no_new_privs=config.no_new_privs,
        landlock=config.landlock,
        core_dumps=config.core_dumps,
        memory_limit=config.memory_limit,
        reads=(*back_ends.files(config), *filter(None, (config.server_metadata, config.acl_global))),
        log_file=config.log_file,
        writes=tuple(
            filter(
                None,
                (
                    config.auth_device_used_file,
                    config.last_login_file,
                    config.acl_shared_list,
                    config.rawlog_dir and os.path.join(config.rawlog_dir, "log"),
                    *back_ends.written(config),
                ),
            )
        ),
    )
