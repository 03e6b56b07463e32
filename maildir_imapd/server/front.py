"""The supervisor's face to those in front of the server: whether it takes clients, a drain, the lookouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from maildir_imapd.server import host_watch, identity, settings
from maildir_imapd.server.affinity import HostHealth
from maildir_imapd.server.drain import Drain
from maildir_imapd.server.entrance import Entrance, Shut
from maildir_imapd.server.lookout import Lookout
from maildir_imapd.server.spool_probe import SpoolProbe

if TYPE_CHECKING:
    from maildir_imapd.config import Config
    from maildir_imapd.server.children import Child


class Front:
    """See the module; of the supervisor's thread."""

    def __init__(self, slots: int, children: Mapping[int, Child]) -> None:
        self.entrance = Entrance(slots)
        self.drain = Drain(self.entrance)
        self._children = children
        self._probe: SpoolProbe | None = None
        self.spool = ""
        self.health: HostHealth | None = None
        self._hosts: Lookout | None = None

    def change(self, config: Config) -> None:
        """Go by these settings, which are good; what they leave as it is goes on."""
        probed = settings.probed(config)
        if self._probe is not None and self._probe.probed != probed:
            self._probe.lookout.close()
            self._probe = None
        if self._probe is None and probed.paths:
            self._probe = SpoolProbe(probed, settings.confinement(config), identity.user_of_mail(config))

    def know_hosts(self, config: Config) -> None:
        """Have the workers that begin from here on know the hosts of these settings."""
        hosts = settings.hosts(config)
        if self.health is not None and self.health.hosts == hosts:
            return
        if self._hosts is not None:
            self._hosts.close()
        self.health = self._hosts = None
        if hosts:
            self.health = health = HostHealth(hosts)
            self._hosts = Lookout("hosts", lambda wait: host_watch.watch(health, wait), settings.confinement(config))

    def _lookouts(self) -> list[Lookout]:
        probe = None if self._probe is None else self._probe.lookout
        return [lookout for lookout in (probe, self._hosts) if lookout is not None]

    def renew(self, let_go: Callable[[], None]) -> None:
        """Start the lookouts that are not there.  To be called before the supervisor has any thread."""
        for lookout in self._lookouts():
            lookout.renew(let_go)

    def ended(self, process: int, status: int) -> None:
        """Note that a child of the supervisor has ended, if it was a lookout."""
        for lookout in self._lookouts():
            lookout.ended(process, status)

    def look(self) -> None:
        """Have new clients taken, or not; to be called every second or so."""
        self.spool = "" if self._probe is None else self._probe.trouble()
        self.entrance.shut(Shut.DRAINING if self.drain.on else Shut.SPOOL if self.spool else Shut.OPEN)
        self.drain.look(self._children.values())

    def begin_drain(self, within: float, grace: float) -> None:
        """As ``Drain.begin``, and at once."""
        self.drain.begin(within, grace, self._children.values())
        self.look()

    def end_drain(self) -> bool:
        """As ``Drain.back``, and at once."""
        found = self.drain.back()
        self.look()
        return found

    def drain_as_json(self) -> dict[str, object]:
        """As ``Drain.as_json``."""
        return self.drain.as_json(self._children.values())

    def let_go(self) -> None:
        """Close all descriptors, in a process that has its own business."""
        for lookout in self._lookouts():
            lookout.let_go()

    def close(self) -> None:
        """End the lookouts."""
        for lookout in self._lookouts():
            lookout.close()
