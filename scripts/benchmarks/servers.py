"""The two servers: started on free ports of 127.0.0.1 in temporary directories, stopped by process number."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .client import Client, login
from .mail import Spool

DOVECOT = "/usr/sbin/dovecot"
MAIL_USER = "nobody"
_START = 30.0


class Server:
    """A server and the mail of its users, below *root*."""

    name = ""

    def __init__(self, root: Path, spool: Spool) -> None:
        self.root = root
        self.spool = spool
        self.port = free_port()
        self._fresh = 0
        for directory in (root, root / "mail"):
            directory.mkdir()
            spool.give(directory)
        entry = "{user}:{{PLAIN}}secret::::::\n"
        users = ["main", "many", "some", "indexed", *(f"user{n}" for n in range(50))]
        (root / "passwd").write_text("".join(entry.format(user=user) for user in users))

    def start(self) -> None:
        """Start and wait until it greets."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop and wait until it is gone."""
        raise NotImplementedError

    def processes(self) -> list[int]:
        """All processes of the server."""
        raise NotImplementedError

    def restart(self) -> None:
        """Stop and start again."""
        self.stop()
        self.start()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With all clients in the same worker, where the server has any."""
        yield

    def login(self, user: str = "main") -> Client:
        """A client that is logged in."""
        self.maildir(user)
        return login(self.port, user)

    def maildir(self, user: str) -> Path:
        """The user's Maildir, made when it is asked for first."""
        home = self.root / "mail" / user
        if not home.exists():
            home.mkdir()
            self.spool.give(home)
            self.spool.mailbox(None, home / "Maildir")
        return home / "Maildir"

    def standing(self, base: Path, user: str = "main") -> bytes:
        """The name of a mailbox with the messages of *base*, which stays for the whole run."""
        folder = self.maildir(user) / f".{base.name}"
        if not folder.exists():
            self.spool.mailbox(base, folder)
        return base.name.encode()

    @contextmanager
    def fresh(self, base: Path | None, user: str = "main", *, uids: bool = False) -> Iterator[bytes]:
        """The name of a mailbox that the server has never seen; with *uids* Dovecot's list of UIDs is there."""
        self._fresh += 1
        name = f"fresh{self._fresh}"
        folder = self.maildir(user) / f".{name}"
        self.spool.mailbox(base, folder, uids=uids)
        try:
            yield name.encode()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def indexing(self) -> Iterator[str]:
        """With an index of texts for the user that is named, where the server can have one as it comes."""
        yield "indexed"

    def fill_index(self, user: str) -> None:
        """Have that user's index hold all that has been opened."""

    def memory(self) -> int:
        """Octets of memory that all processes take, shared pages by halves (PSS)."""
        total = 0
        for process in self.processes():
            try:
                text = Path(f"/proc/{process}/smaps_rollup").read_text()
            except OSError:
                continue  # it has just ended
            total += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        return total * 1024

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START
        while True:
            try:
                with Client(self.port):
                    return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class Ours(Server):
    """maildir-imapd from this checkout, two workers."""

    name = "ours"
    workers = 2
    search_index = "no"
    _process: subprocess.Popen[bytes] | None = None

    def _mail(self) -> list[str]:
        """Where mail and users are, as options."""
        options = [
            "--mail-location",
            f"maildir:{self.root}/mail/%n/Maildir",
            "--passwd-file",
            str(self.root / "passwd"),
        ]
        return options + (["--mail-user", MAIL_USER] if os.geteuid() == 0 else [])

    def start(self) -> None:
        """Start and wait until it greets."""
        command = [sys.executable, "-m", "maildir_imapd", "serve", "--imap", f"127.0.0.1:{self.port}"]
        command += [*self._mail(), "--plaintext-login", "loopback"]
        command += ["--workers", str(self.workers), "--fsync", "delivery", "--log-level", "warning"]
        command += ["--log-file", str(self.root / "log")]
        command += ["--connections-per-address", "5000", "--connections-per-user", "5000"]
        command += ["--search-index", self.search_index]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self._wait_until_up()

    def stop(self) -> None:
        """Stop and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def processes(self) -> list[int]:
        """The supervisor and its workers."""
        return [] if self._process is None else family(self._process.pid)

    @contextmanager
    def indexing(self) -> Iterator[str]:
        """With ``search_index``."""
        self.search_index = "yes"
        self.restart()
        try:
            yield "indexed"
        finally:
            self.search_index = "no"
            self.restart()

    def fill_index(self, user: str) -> None:
        """By the command, which does what the server does beside its workers."""
        command = [sys.executable, "-m", "maildir_imapd", "search-index", "fill", "--user", user, *self._mail()]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With one worker."""
        self.workers = 1
        self.restart()
        try:
            yield
        finally:
            self.workers = 2
            self.restart()


# Lines that both 2.3 and 2.4 understand.
CONFIG = """
base_dir = {root}/run
state_dir = {root}/state
log_path = {root}/log
protocols = imap
listen = 127.0.0.1
ssl = no
mail_max_userip_connections = 5000
first_valid_uid = 1
default_process_limit = 2000
default_client_limit = 10000
namespace inbox {{
  inbox = yes
  separator = .
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""


CONFIG_23 = """
disable_plaintext_auth = no
mail_location = maildir:{root}/mail/%n/Maildir
default_vsz_limit = 0
passdb {{
  driver = passwd-file
  args = {root}/passwd
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={root}/mail/%n
}}
"""

# These two settings must be the first.
VERSION_24 = """dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
"""

CONFIG_24 = """
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = {root}/mail/%{{user | username}}/Maildir
default_vsz_limit = unlimited
passdb passwd-file {{
  passwd_file_path = {root}/passwd
}}
userdb static {{
  fields {{
    uid = {uid}
    gid = {gid}
    home = {root}/mail/%{{user | username}}
  }}
}}
"""


class Dovecot(Server):
    """Debian's Dovecot, 2.3 or 2.4, with its settings as they come, but for what stands above."""

    name = "dovecot"

    @staticmethod
    def installed() -> bool:
        """Whether it can run here: it wants to be started by root."""
        return os.path.exists(DOVECOT) and os.geteuid() == 0

    def start(self) -> None:
        """Start and wait until it greets."""
        user = pwd.getpwnam(MAIL_USER)
        config = self.root / "dovecot.conf"
        version = subprocess.run([DOVECOT, "--version"], capture_output=True, text=True, check=True).stdout
        is_24 = not version.startswith("2.3.")
        text = VERSION_24 + CONFIG + CONFIG_24 if is_24 else CONFIG + CONFIG_23
        config.write_text(text.format(root=self.root, port=self.port, uid=user.pw_uid, gid=user.pw_gid))
        subprocess.run([DOVECOT, "-c", config], check=True)
        self._wait_until_up()

    def stop(self) -> None:
        """Stop and wait until it is gone."""
        running = self.processes()
        if running:
            os.kill(running[0], signal.SIGTERM)
        deadline = time.monotonic() + _START
        while any(os.path.exists(f"/proc/{process}") for process in running) and time.monotonic() < deadline:
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """The master, the services and a process or two for each client."""
        try:
            return family(int((self.root / "run" / "master.pid").read_text()))
        except OSError:
            return []


def family(process: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(found for child in children for found in family(int(child)))]


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
