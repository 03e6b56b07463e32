"""Hosts on one GlusterFS volume, each a set of namespaces on this machine: for tests and ``scripts/hosts``.

A host has mounts, a name, a boot id, a machine id and a network of its own, on a switch that is a namespace, too;
nothing of the machine's own network is touched. Of each host one brick is in the volume, with a replica on every host.
What is to serve mail is run without the host's network (``Host.before``), so that tests reach it at 127.0.0.1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

# What a mount needs so that each host sees at once what another one has done.
COHERENT_MOUNT: Final = "attribute-timeout=0,entry-timeout=0,negative-timeout=0,auto-invalidation=on,log-level=ERROR"
CARELESS_MOUNT: Final = "log-level=ERROR"
COHERENT_VOLUME: Final = (
    ("performance.write-behind", "off"),
    ("performance.stat-prefetch", "off"),
    ("performance.quick-read", "off"),
    ("performance.io-cache", "off"),
    ("performance.read-ahead", "off"),
    ("performance.readdir-ahead", "off"),
    ("performance.open-behind", "off"),
    ("cluster.eager-lock", "off"),
    ("client.strict-locks", "on"),
    ("network.ping-timeout", "5"),
)
_NETWORK: Final = "10.111.7"
_ENTER: Final = r"""
set -e
mount --make-rprivate /
ip link set lo up
mkdir -p /var/lib/glusterd /var/log/glusterfs
mount --bind "$1/lib" /var/lib/glusterd
mount --bind "$1/log" /var/log/glusterfs
mount --bind "$1/run" /run
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/boot-id" /proc/sys/kernel/random/boot_id
if [ -e /etc/machine-id ]; then mount --bind "$1/machine-id" /etc/machine-id; fi
hostname "$2"
echo up
exec sleep infinity
"""


@cache
def why_not() -> str:
    """Why there can be no such hosts here; "" if there can."""
    if os.geteuid() != 0:
        return "only root can make the hosts"
    for program in ("unshare", "nsenter", "ip", "glusterd", "gluster", "mount.glusterfs"):
        if shutil.which(program) is None:
            return f"there is no {program}"
    if not os.path.exists("/dev/fuse"):
        return "there is no /dev/fuse"
    done = subprocess.run(["unshare", "-m", "-n", "-u", "true"], capture_output=True, text=True)
    return f"no namespaces can be made: {done.stderr.strip()}" if done.returncode else ""


@dataclass
class Host:
    """One of them. *pid*: of its first process, as this machine counts."""

    base: Path
    number: int
    pid: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        return f"host{self.number}"

    @property
    def address(self) -> str:
        return f"{_NETWORK}.{self.number + 1}"

    def enter(self, *, network: bool = True) -> list[str]:
        """The words before a command that has it run on this host, on its network or on this machine's."""
        # With its root: these tests may run below a directory that is theirs (scripts/fresh).
        return ["nsenter", "-t", str(self.pid), "-m", "-r", "-u", *(["-n"] if network else [])]

    @property
    def before(self) -> list[str]:
        """The words before a server's command."""
        return self.enter(network=False)

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command there and return what it says."""
        done = subprocess.run([*self.enter(), *words], capture_output=True, text=True, timeout=120)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def boot(self, switch: int) -> None:
        """Start it, or start it anew after ``kill``: another boot id, the same machine."""
        for each in ("lib", "log", "run", "brick"):
            (self.base / each).mkdir(parents=True, exist_ok=True)
        machine = self.base / "machine-id"
        if not machine.exists():
            machine.write_text(f"{uuid.uuid4().hex}\n")
        (self.base / "boot-id").write_text(f"{uuid.uuid4()}\n")
        lines = [f"{_NETWORK}.{n + 1} host{n}" for n in range(9)]
        (self.base / "hosts").write_text("127.0.0.1 localhost\n" + "\n".join(lines) + "\n")
        shutil.rmtree(self.base / "run", ignore_errors=True)
        (self.base / "run" / "gluster").mkdir(parents=True)
        words = ["unshare", "-m", "-n", "-u", "sh", "-c", _ENTER, "sh"]
        self.process = subprocess.Popen(
            [*words, str(self.base), self.name], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "up\n":
            raise RuntimeError(f"{self.name} does not come up")
        self.pid = self.process.pid
        port = f"port{self.number}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(self.pid))
        _on(switch, "ip", "link", "add", port, *peer)
        _on(switch, "ip", "link", "set", port, "master", "lan", "up")
        self.run("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("glusterd", "--log-level", "ERROR")

    def _processes(self) -> list[int]:
        """All that have its mounts and still run."""
        ours = os.readlink(f"/proc/{self.pid}/ns/mnt")
        found = []
        for each in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                state = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z" and os.readlink(f"/proc/{each}/ns/mnt") == ours:
                    found.append(int(each))
        return found

    def mount(self, at: Path, options: str = COHERENT_MOUNT) -> None:
        """Mount the volume at a directory, which is a mount point on this host alone."""
        at.mkdir(parents=True, exist_ok=True)
        self.run("mount", "-t", "glusterfs", "-o", options, f"{self.name}:/mail", str(at))

    def lose_mount(self, at: Path) -> None:
        """End the program behind a mount: what is open of it is lost, and the mount point answers nobody."""
        for pid in self._processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                if os.fsencode(at) == words[-1]:
                    os.kill(pid, signal.SIGKILL)

    def unmount(self, at: Path) -> None:
        """Unmount, whatever is open there."""
        if self.process is not None:
            self.run("umount", "-l", str(at), check=False)

    def kill(self) -> None:
        """End all that runs on it at once, as when the power fails."""
        if self.process is not None:
            # Whatever has its mounts, until nothing has: what is about to fork may be quicker.
            while others := [pid for pid in self._processes() if pid != self.pid]:
                for pid in others:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.01)
            self.process.kill()
            self.process.wait()
            if self.process.stdout is not None:
                self.process.stdout.close()
            self.process = None


class Cluster:
    """So many hosts and one volume; ``close`` ends it, and nothing of it stays but files in *base*."""

    def __init__(self, base: Path, hosts: int = 3) -> None:
        self.base = base
        self._switch = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        self.hosts = [Host(base / f"host{n}", n) for n in range(hosts)]
        try:
            _eventually(lambda: os.readlink(f"/proc/{self._switch.pid}/ns/net") != os.readlink("/proc/self/ns/net"))
            _on(self._switch.pid, "ip", "link", "add", "lan", "type", "bridge")
            _on(self._switch.pid, "ip", "link", "set", "lan", "up")
            for host in self.hosts:
                self.boot(host)
        except BaseException:
            self.close()
            raise

    def boot(self, host: Host) -> None:
        """Start a host."""
        host.boot(self._switch.pid)

    def make_volume(self, options: Sequence[tuple[str, str]] = COHERENT_VOLUME) -> None:
        """Make the volume ``mail`` of a brick on each host, and start it."""
        first = self.hosts[0]
        for host in self.hosts[1:]:
            _eventually(lambda host=host: "success" in first.run("gluster", "peer", "probe", host.name, check=False))
        _eventually(
            lambda: first.run("gluster", "peer", "status", check=False).count("(Connected)") == len(self.hosts) - 1
        )
        bricks = [f"{host.name}:{host.base / 'brick'}" for host in self.hosts]
        replica = ["replica", str(len(bricks))] if len(bricks) > 1 else []
        create = ["gluster", "--mode=script", "volume", "create", "mail", *replica, *bricks, "force"]
        _eventually(lambda: "success" in first.run(*create, check=False))
        self.set_options(options)
        first.run("gluster", "volume", "start", "mail")
        self.whole()

    def set_options(self, options: Sequence[tuple[str, str]]) -> None:
        """Set options of the volume, all in one."""
        if options:
            self.hosts[0].run("gluster", "volume", "set", "mail", *[word for option in options for word in option])

    def whole(self) -> None:
        """Wait until all bricks are there."""
        asked = ("gluster", "volume", "status", "mail")
        _eventually(lambda: self.hosts[0].run(*asked, check=False).count(" Y ") >= len(self.hosts))

    def cut(self, host: Host) -> None:
        """Take a host off the network."""
        _on(self._switch.pid, "ip", "link", "set", f"port{host.number}", "down")

    def join(self, host: Host) -> None:
        """Put it back."""
        _on(self._switch.pid, "ip", "link", "set", f"port{host.number}", "up")

    def close(self) -> None:
        """End all hosts."""
        for host in self.hosts:
            host.kill()
        self._switch.kill()
        self._switch.wait()


def stress(hosts: Sequence[Host], mail: Path, words: Sequence[str]) -> list[str]:
    """The words that let tests/stress.py loose on a server on each host; it looks at the spool, so it runs on one.

    *mail*: where the volume is mounted on all of them; *words*: options of the load.
    """
    befores = [word for host in hosts[1:] for word in ("--before", " ".join(host.before))]
    return [*hosts[0].before, sys.executable, "-m", "stress", "--base", str(mail), *befores, *words]


def main() -> int:
    """``scripts/hosts``"""
    parser = argparse.ArgumentParser(
        prog="scripts/hosts",
        description="Make hosts as namespaces on one GlusterFS volume, and set random clients upon servers on all of "
        "them, as scripts/stress does, whose options may follow behind --. Needs root. Exit status 1: something was "
        "wrong.",
    )
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3600, help="(3600)")
    parser.add_argument("--users", type=int, default=3)
    parser.add_argument("--clients", type=int, default=18, help="all users' together")
    parser.add_argument("--careless", action="store_true", help="with the defaults of GlusterFS, which lose mail")
    parser.add_argument("words", nargs="*", metavar="OPTION", help="for scripts/stress")
    options = parser.parse_args()
    if why := why_not():
        parser.error(why)
    base = Path(tempfile.mkdtemp(prefix="hosts-"))
    cluster = Cluster(base, options.hosts)
    try:
        cluster.make_volume(() if options.careless else COHERENT_VOLUME)
        mail = base / "mail"
        for host in cluster.hosts:
            host.mount(mail, CARELESS_MOUNT if options.careless else COHERENT_MOUNT)
        words = [f"--seconds={options.seconds}", f"--users={options.users}", f"--clients={options.clients}"]
        words += ["--folders=2", "--clocks=90", "--options=--poll-interval=0.3 --check-spool=no", *options.words]
        return subprocess.run(stress(cluster.hosts, mail, words), check=False).returncode
    finally:
        cluster.close()
        shutil.rmtree(base, ignore_errors=True)


def _on(pid: int, *words: str) -> None:
    """Run a command on the network of a process."""
    subprocess.run(["nsenter", "-t", str(pid), "-n", *words], check=True, capture_output=True, timeout=30)


def _eventually(holds: object, seconds: float = 60.0) -> None:
    """Wait until it is so; raises TimeoutError."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError("GlusterFS does not get ready")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
