"""The parent of the workers: binds, forks, replaces the dead, reloads, stops.

One thread and no other work, in one loop: every wait, also the one for a worker that starts, hears signals, takes
in the dead and looks at the others' hearts.  Signals come by a descriptor, so nothing ever runs in a signal handler.
The supervisor forks before it has any thread, and never starts one.

Started as root it stays root, so that it can read a new certificate and its key at SIGHUP; it hears no
client.  The workers become ``mail_user`` before they take their first connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from maildir_imapd import __version__
from maildir_imapd import log as logs
from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.server import back_ends, confine, control_commands, identity, preload, settings, tls, worker
from maildir_imapd.server.announcing import ready_line
from maildir_imapd.server.aside import Aside
from maildir_imapd.server.bound import Bound
from maildir_imapd.server.children import Child, pair
from maildir_imapd.server.control import Control
from maildir_imapd.server.control_commands import Commands, Reloaded
from maildir_imapd.server.counts import Counts
from maildir_imapd.server.deaths import Deaths
from maildir_imapd.server.exporting import Exporting
from maildir_imapd.server.failures import Failures
from maildir_imapd.server.front import Front
from maildir_imapd.server.heartbeat import Page
from maildir_imapd.server.readiness import Readiness
from maildir_imapd.server.service_manager import ServiceManager
from maildir_imapd.server.sessions import base36
from maildir_imapd.server.signals import Signals
from maildir_imapd.server.stacks import Stacks
from maildir_imapd.server.tls import Ends, Tls
from maildir_imapd.server.troubles import Troubles
from maildir_imapd.server.warming import warm_up
from maildir_imapd.server.worker import Supervision
from maildir_imapd.setting.shown import shown
from maildir_imapd.store.disk.descriptors import Descriptor

if TYPE_CHECKING:
    from maildir_imapd.config import Config

log = Log(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# A worker in which some long-lived thread has not moved for this long hangs, if it is found so twice.
HANGS_AFTER_SECONDS = 60.0
# One that has not moved for this long, by two looks as well, is asked for its stacks; and one that does not answer for
# so long has them written in spite of that.
STANDS_AFTER_SECONDS = 5.0
NO_ANSWER_SECONDS = 10.0
# Seconds between these two looks, at the least.
LOOK_AGAIN_SECONDS = 1.0
# A worker that dies younger than this has a reason that will not go away: wait before the next one.
YOUNG_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 30.0
READY_SECONDS = 60.0
# When the supervisor itself has not run for this long, the machine or its terminal stood still, not a worker.
STOOD_STILL_SECONDS = 10.0
# Seconds between two looks at the workers when nothing happens.
LOOK_EVERY_SECONDS = 1.0
# Seconds until the loop goes on after an error, and for a process that was killed to be gone.
AFTER_ERROR_SECONDS = 1.0
KILLED_SECONDS = 5.0
SLOTS = 4096


@dataclass
class Supervisor:
    """*reload* reads the configuration again; raises ConfigError, and the old one stays."""

    config: Config
    reload: Callable[[], Config]
    bound: Bound = field(default_factory=Bound)
    children: dict[int, Child] = field(default_factory=dict)
    _tls: Tls | None = None
    _certificate_ends: Ends = field(default_factory=Ends)
    _mail_user: pwd.struct_passwd | None = None
    _mail: list[bytes] = field(default_factory=list)  # below which directories it is
    _pause: float = 0.0
    _next_start: float = 0.0
    _looked: float = 0.0
    _ending: bool = False  # SIGTERM or SIGINT has come
    _reload_wanted: bool = False  # SIGHUP has, since the last reload began
    _signals: Signals = field(init=False)
    _failures: Failures = field(default_factory=Failures)
    _counts: Counts = field(default_factory=Counts)
    _page: Page = field(default_factory=lambda: Page(SLOTS))
    _deaths: Deaths = field(default_factory=lambda: Deaths(SLOTS))
    _stacks: Stacks | None = None
    _aside: Aside | None = None
    _control: Control | None = None
    _exporting: Exporting = field(default_factory=Exporting)
    _started: bool = False  # the first workers take connections
    _commands: Commands = field(init=False)
    since: float = field(default_factory=time.time)
    troubles: Troubles = field(default_factory=Troubles)
    front: Front = field(init=False)
    _born: int = 0
    _manager: ServiceManager = field(default_factory=lambda: ServiceManager(os.environ))

    def __post_init__(self) -> None:
        self._commands = Commands(self)
        self.front = Front(SLOTS, self.children)

    def run(self, announce: Callable[[str], None]) -> int:
        """Serve until SIGTERM; *announce* gets one line once connections are taken."""
        self._signals = Signals(SIGNALS)
        self._stacks = Stacks()
        logs.listen(self.troubles)
        identity.raise_descriptor_limit()
        # Once for all workers, and while nothing is given up yet.
        preload.load()
        self.bound.bind(self.config, os.environ)
        self._exporting = Exporting(settings.exports(self.config))
        # Whatever is wrong with the settings shows here, and not in every worker again.
        self._tls = tls.read(self.config)
        users = settings.chain(self.config)
        settings.server_metadata(self.config)
        settings.demand_what_workers_need(self.config)
        settings.new_device(self.config)
        self._mail_user = identity.mail_user(self.config, users)
        self._mail = identity.mail(self.config, users)
        self.front.change(self.config)
        self.front.know_hosts(self.config)
        self._control = Control(settings.control(self.config))
        self._control.commands = self._commands
        self._aside = self._begin_aside(self.config)
        self.bound.write_pid(self.config.pid_file)
        try:
            self._control.listen()
            self._exporting.renew(self._control, self._let_go)
            self.front.renew(self._let_go)
            if self._start(self.config.workers):
                self._started = True
                line = ready_line(self.bound.listeners, self._exporting.addresses, self.config.workers)
                announce(line)
                log.info("started", version=__version__, workers=self.config.workers)
                self._manager.ready(line.partition(": ")[2])
                self._watch()
        finally:
            self._end()
        return 0

    # --- what processes share ---------------------------------------------------------------------

    def _share_log(self) -> None:
        """Give the log file to workers that may not open it; new ones inherit it."""
        for child in self.children.values():
            if child.channel is not None:
                logs.hand_over(child.channel)
        self._exporting.share_log()

    def _begin_aside(self, config: Config) -> Aside | None:
        """Fork the process that questions about passwords go to, if there are any; raises ConfigError."""
        answers = back_ends.answers(config)
        if not answers:
            return None
        try:
            aside = Aside(answers, most=back_ends.most_answers(config))
            aside.start(self._let_go)
        except OSError as error:
            raise ConfigError(f"cannot start the process that asks about passwords: {error.strerror}") from error
        return aside

    def _let_go(self) -> None:
        """Close, in a process that serves no client, what is for those that do."""
        self._signals.close()
        self.bound.close()
        self._let_go_of_children()

    def _let_go_of_children(self) -> None:
        """Close, in any child, what leads to the others, and to those who ask."""
        for child in self.children.values():
            if child.channel is not None:
                child.channel.close()
        self._exporting.let_go()
        self.front.let_go()
        if self._control is not None:
            self._control.let_go()

    # --- workers ----------------------------------------------------------------------------------

    def _start(self, count: int) -> bool:
        """Fork workers, each when the last one takes connections; False: SIGTERM came first.  Raises ConfigError."""
        for _ in range(count):
            child, pipe = self._spawn()
            try:
                self._wait_for(child, pipe.number)
            finally:
                pipe.close()
            if self._ending:
                return False
        return True

    def _wait_for(self, child: Child, ready: int) -> None:
        """Return once *child* has said by the pipe *ready* that it takes connections, or when SIGTERM has come.

        Raises ConfigError with what it says, or that it has ended or does not get ready.
        """
        why = "a worker did not start; the log says why"
        deadline = child.started + READY_SECONDS
        while not self._ending:
            self._turn([ready])
            try:
                said = os.read(ready, 4096).decode("utf-8", "replace")
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ConfigError(why) from None
            else:
                if said != "+":
                    raise ConfigError(said or why)  # nothing at all: it has ended
                return

    def _spawn(self) -> tuple[Child, Descriptor]:
        """Fork a worker, and return it and the pipe by which it says that it is ready; raises ConfigError."""
        used = {child.slot for child in self.children.values()}
        slot = next((n for n in range(SLOTS) if n not in used), None)
        if slot is None:
            raise ConfigError("too many workers, old ones that still serve their clients counted")
        now = time.monotonic()
        self._page.mark(slot, False)
        self._page.beat(slot, now)
        self._deaths.born(slot)
        self._counts.born(slot)
        supervisor = os.getpid()
        self._born += 1
        with contextlib.ExitStack() as ours_alone, contextlib.ExitStack() as after:
            try:
                channel, far = pair(socket.SOCK_SEQPACKET, ours_alone, after)
                asking, asked = pair(socket.SOCK_STREAM, ours_alone, after)
                ours, theirs = os.pipe()
                ours_alone.callback(os.close, ours)
                after.callback(os.close, theirs)
                os.set_blocking(ours, False)
                pid = os.fork()
            except OSError as error:
                raise ConfigError(f"cannot start a worker: {error.strerror}") from error
            if pid == 0:
                ours_alone.close()
                self._let_go_of_children()
                self._child(slot, supervisor, theirs, far, asked)
            ours_alone.pop_all()
        child = self.children[pid] = Child(pid, slot, now, channel=channel)
        if self._control is None:
            asking.close()
        else:
            self._control.add(pid, asking)
        return child, Descriptor(ours, "ready pipe")

    def _child(self, slot: int, supervisor: int, pipe: int, channel: socket.socket, asked: socket.socket) -> NoReturn:
        """The worker's whole life; it must not return into the supervisor's frames."""
        status = 1
        try:
            self._signals.close()  # the parent's; the child makes its own
            if self._aside is not None:
                self._aside.keep_only_asking()
            page = self._page
            self.troubles.forget()

            def tell(text: str) -> None:
                try:
                    os.write(pipe, text.encode("utf-8", "replace"))
                except BrokenPipeError:
                    pass  # one that takes the place of a dead worker is not waited for
                os.close(pipe)

            try:
                self._give_up_rights()
                supervision = Supervision(
                    parent=supervisor,
                    ready=lambda: tell("+"),
                    beat=lambda moment: page.beat(slot, moment),
                    retired=lambda: page.marked(slot),
                    patience=self.config.shutdown_timeout,
                    notes=self._deaths.notes(slot),
                    stacks=self._stacks,
                    told=lambda: page.tell(slot, time.monotonic()),
                    channel=channel,
                    failures=self._failures,
                    counts=self._counts.of(slot),
                    asks=self._aside,
                    name=f"{base36(int(self.since))}-{base36(self._born)}",
                    asked=asked,
                    troubles=self.troubles,
                    entrance=self.front.entrance,
                    health=self.front.health,
                    slot=slot,
                )
                context = None if self._tls is None else self._tls.context
                status = worker.run(self.config, context, self.bound.listeners, supervision)
            except ConfigError as error:
                log.error("worker cannot start", why=error.text, detail=error.detail)
                status = ConfigError.exit_status
                tell(f"{error.text} ({error.detail})" if error.detail else error.text)
        except BaseException:
            log.exception("worker failed")
        finally:
            logging.shutdown()
            try:
                sys.stdout.flush()
            finally:
                os._exit(status)

    def _give_up_rights(self) -> None:
        """Become whom the worker is to be, with no right that it does not need; raises ConfigError."""
        limits, own = settings.confinement(self.config), os.geteuid()
        if limits.drop_capabilities:
            confine.drop_capabilities((confine.SETUID, confine.SETGID) if own == 0 else ())
        identity.become(self._mail_user)
        several = own == 0 and self._mail_user is None
        if limits.drop_capabilities and not several:
            confine.drop_capabilities()
        if os.geteuid() != own or several:
            # Another user's, or threads that are: what they open by name is not what the supervisor would.
            logs.keep_what_is_open()
        confine.set_limits(limits)
        # As whom it is from here on, and while there is still a place for it.
        warm_up()
        if limits.no_new_privs:
            confine.no_new_privileges()
            if limits.landlock and self._mail_user is not None:
                confine.lock_in(limits, self._mail, log_file=os.geteuid() == own)

    def _watch(self) -> None:
        """The loop: until SIGTERM or SIGINT."""
        while not self._ending:
            try:
                self._turn()
                if self._reload_wanted and not self._ending:
                    self._reload_wanted = False
                    self._commands.reload_begins()
                    self._manager.reloading()
                    done = self._reload()
                    self._manager.reloaded()
                    if self._control is not None and done is not None:
                        self._commands.reload_ended(self._control, done)
                self._fill_up()
            except Exception:
                # Without it nobody would replace a worker: whatever it was, it goes on.
                log.exception("supervisor failed")
                time.sleep(AFTER_ERROR_SECONDS)

    def _turn(self, also: Sequence[int] = (), patience: float = LOOK_EVERY_SECONDS) -> None:
        """Wait for a signal, a descriptor of *also*, or *patience* seconds, then do what cannot wait."""
        control = self._control
        if control is not None:
            also, patience = [*also, control.number], min(patience, control.patience)
        self._manager.alive(time.monotonic())
        info = self._signals.wait(patience, also)
        if info is not None:
            if info.number in (signal.SIGTERM, signal.SIGINT):
                self._ending = True
            elif info.number == signal.SIGHUP:
                self._reload_wanted = True
        self._reap()
        if control is not None:
            control.turn()
        self.front.look()
        self._kill_hanging(time.monotonic())
        self._certificate_ends.look(self._tls)
        if logs.reopen():
            self._share_log()

    def _reload(self) -> Reloaded | None:
        """New workers with the new settings; the old ones finish with the clients they have.

        Says what has changed, or why nothing has; None when it ends before.
        """
        try:
            config = self.reload()
            certificates = tls.read(config)
            users = settings.chain(config)
            settings.server_metadata(config)
            settings.demand_what_workers_need(config)
            mail_user = identity.mail_user(config, users)
            mail = identity.mail(config, users)
            rights, exports = settings.control(config), settings.exports(config)
            aside = self._begin_aside(config)
            settings.set_up_log(config)
        except ConfigError as error:
            log.error("reload failed, the old settings stay", why=error.text)
            return control_commands.failed(error)
        if settings.listening(config) != settings.listening(self.config):
            log.warning("new listening addresses need a restart")
        old = [child for child in self.children.values() if not child.retired]
        before = self.config, self._tls, self._mail_user, self._mail, self._aside
        self.config, self._tls, self._mail_user, self._mail, self._aside = config, certificates, mail_user, mail, aside
        self._share_log()
        self.front.know_hosts(config)
        try:
            if not self._start(config.workers):
                return None  # to end, with all of them
        except (ConfigError, OSError, MemoryError) as error:
            log.error("reload failed, the old workers stay", why=error)
            self.config, self._tls, self._mail_user, self._mail, self._aside = before
            self.front.know_hosts(self.config)
            if aside is not None:
                aside.close()
            for child in self.children.values():
                if child not in old and not child.retired:
                    child.retired = True
                    _kill(child.pid, signal.SIGTERM)
            return control_commands.failed(error)
        if before[-1] is not None:
            before[-1].close()
        for child in old:
            if self.children.get(child.pid) is not child:
                continue  # it has died meanwhile: its number and its slot may be another's
            child.retired = True
            # The mark says it, the signal only has it looked at: one by somebody else says nothing, and one that is
            # merged with another is not lost.
            self._page.mark(child.slot, True)
            _kill(child.pid, signal.SIGUSR1)
        self._pause = self._next_start = 0.0
        if self._control is not None:
            self._control.renew(rights)
        self._exporting.change(exports)
        self.front.change(config)
        log.info("reloaded", workers=config.workers)
        return control_commands.differences(before[0].values, config.values, shown)

    def _reap(self) -> None:
        died_young = died = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG) if self.children else (0, 0)
            except ChildProcessError:
                break
            if pid == 0:
                break
            child = self.children.pop(pid, None)
            if child is None and self._aside is not None:
                self._aside.ended(pid, status)
            self._exporting.ended(pid, status)
            self.front.ended(pid, status)
            if child is not None and status:
                self._deaths.died(child.slot)
            if child is not None:
                self._counts.born(child.slot)
                if self._control is not None:
                    self._control.channels.remove(pid)
            if child is not None and child.channel is not None:
                child.channel.close()
            if child is None or child.retired:
                continue
            age = time.monotonic() - child.started
            log.error("worker died", worker=pid, status=os.waitstatus_to_exitcode(status), age=round(age, 1))
            died = True
            died_young = died_young or age < YOUNG_SECONDS
        if died:
            # Several that die together count once.
            self._pause = min(LONGEST_PAUSE_SECONDS, max(0.5, self._pause * 2)) if died_young else 0.0
            self._next_start = time.monotonic() + self._pause

    def _fill_up(self) -> None:
        if self._aside is not None:
            self._aside.renew(self._let_go)
        self._exporting.renew(self._control, self._let_go)
        self.front.renew(self._let_go)
        active = sum(not child.retired for child in self.children.values())
        if active < self.config.workers and time.monotonic() >= self._next_start:
            try:
                for _ in range(self.config.workers - active):
                    _, pipe = self._spawn()
                    pipe.close()  # nobody waits for it
            except ConfigError as error:
                log.error(error.text)
                self._pause = min(LONGEST_PAUSE_SECONDS, max(0.5, self._pause * 2))
                self._next_start = time.monotonic() + self._pause

    def _kill_hanging(self, now: float) -> None:
        """Kill who has not moved for too long by two looks that agree, unless it was we who stood still."""
        stood_still, self._looked = self._looked and now - self._looked > STOOD_STILL_SECONDS, now
        for child in self.children.values():
            if stood_still:
                self._page.beat(child.slot, now)
            beat = self._page.moment(child.slot)
            self._show(child, beat, now)
            if not beat or now - beat <= HANGS_AFTER_SECONDS:
                child.suspect = 0.0
            elif child.suspect != beat:
                child.suspect, child.suspected = beat, now
            elif now - child.suspected >= LOOK_AGAIN_SECONDS:
                log.error("worker hangs", worker=child.pid, seconds=round(now - beat))
                _kill(child.pid, signal.SIGKILL)

    def _show(self, child: Child, beat: float, now: float) -> None:
        """Have a worker that stands still put its stacks into the log, once for each time that it does."""
        if not beat or now - beat <= STANDS_AFTER_SECONDS:
            child.stands = 0.0
        elif child.stands != beat:
            child.stands, child.stood = beat, now
        elif self._stacks is None or now - child.stood < LOOK_AGAIN_SECONDS:
            # The whole machine may have stood still, and nobody but us has run since.
            return
        elif child.asked != beat:
            child.asked, child.asked_at = beat, now
            log.error("worker stands still; its stacks follow", worker=child.pid, seconds=round(now - beat))
            self._stacks.ask(child.pid)
        elif child.forced != beat and now - child.asked_at >= NO_ANSWER_SECONDS:
            child.forced = beat
            if self._page.told(child.slot) < child.asked_at:
                log.error("no thread of it can run; its stacks follow", worker=child.pid, seconds=round(now - beat))
                self._stacks.force(child.pid)

    def _end(self) -> None:
        """Have every worker say goodbye; what is left after the deadline is killed."""
        self._manager.stopping()
        self.bound.close()
        for child in self.children.values():
            _kill(child.pid, signal.SIGTERM)
        self._wait_until_gone(self.config.shutdown_timeout + 2.0)
        for child in self.children.values():
            _kill(child.pid, signal.SIGKILL)
        self._wait_until_gone(KILLED_SECONDS)
        if self.children:
            # In a system call that nothing interrupts; they end with it.
            log.error("workers do not end", workers=sorted(self.children))
        if self._aside is not None:
            self._aside.close()
        self._exporting.close()
        self.front.close()
        if self._control is not None:
            self._control.close()
        self._signals.close()
        self.bound.remove()
        log.info("stopped")

    # --- as control_commands.House --------------------------------------------------------------------

    @property
    def workers(self) -> int:
        """How many there are to be."""
        return int(self.config.workers)

    @property
    def certificates(self) -> Tls | None:
        """Those in use."""
        return self._tls

    @property
    def rawlog_directory(self) -> str | None:
        """Where raw logs go."""
        return settings.rawlog_directory(self.config)

    def readiness(self) -> Readiness:
        """Whether clients are taken."""
        beats = [self._page.moment(child.slot) for child in self.children.values() if not child.retired]
        return Readiness.of(
            beats, time.monotonic(), started=self._started, ending=self._ending, shut=self.front.entrance.why
        )

    @property
    def grace(self) -> float:
        """Seconds for the end of a command."""
        return float(self.config.shutdown_timeout)

    def stop(self) -> None:
        """End, as after SIGTERM."""
        self._ending = True

    def want_reload(self) -> None:
        """Read the settings again, as after SIGHUP."""
        self._reload_wanted = True

    def _wait_until_gone(self, patience: float) -> None:
        for child in self.children.values():
            child.retired = True
        deadline = time.monotonic() + patience
        self._reap()
        while self.children and time.monotonic() < deadline:
            self._signals.wait(0.1)
            self._reap()
            if self._control is not None:
                self._control.turn()


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended by itself and is about to be reaped
