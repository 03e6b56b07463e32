"""Hints for other hosts on a shared spool: that a folder has changed, by a Valkey server's publish and subscribe.

A hint says which folder, and nothing of what has happened: whoever hears it looks there at once, as it would have in
``poll_interval`` anyhow.  So a lost one costs that interval, and a server that is not there nothing else: nobody waits
for it, and what could not be sent is forgotten.

A message is text: who sends it, then the folders, each by the inode of its lock file, which is the same on every host
of a spool: ``mail1-1f3a-0 281474976710656 281474976710657``.  What is anything else is passed over.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from maildir_imapd.errors import ConfigError
from maildir_imapd.events import Log
from maildir_imapd.store.threads.longlived import BEAT_SECONDS, LongLived

if TYPE_CHECKING:
    from valkey import Valkey
    from valkey.client import PubSub

log = Log(__name__)

CHANNEL: Final = "maildir-imapd"
# Folders that wait to be told of; more are forgotten, for whoever listens finds them by himself.
WAITING: Final = 1000
# Of a message that is heard.
MESSAGE_OCTETS: Final = 64 * 1024
# Seconds for one answer of the server, and between two tries to reach it.
ANSWER_SECONDS: Final = 2.0
PAUSE_SECONDS: Final = 5.0


class Hints:
    """Tells other hosts of folders, and hears of theirs; safe from any thread.

    *url*: as the valkey library has it.  *heard* is called with the number of each folder, by a thread of this one.
    Raises ConfigError without the library, and for a URL that is none.
    """

    def __init__(self, url: str, heard: Callable[[int], None], *, channel: str = CHANNEL) -> None:
        self._client = _client(url)
        self._heard = heard
        self._channel = channel
        self._from = f"{os.uname().nodename}-{os.getpid():x}-{time.time_ns():x}"
        self._wake = threading.Condition()  # guards the next one
        self._waiting: dict[int, None] = {}
        self._out = LongLived("hints out", self._send)
        self._in = LongLived("hints in", self._receive)
        self._lost = {"out": False, "in": False}  # what the log has a line of

    def start(self) -> None:
        """Begin, or begin again what has ended; raises RuntimeError."""
        self._out.start()
        self._in.start()

    def tell(self, folder: int) -> None:
        """Have other hosts told that a folder has changed; waits for nothing."""
        with self._wake:
            if len(self._waiting) < WAITING:
                self._waiting[folder] = None
            self._wake.notify()

    def close(self) -> None:
        """End; what has not been told is not told any more."""
        self._out.ask_to_end()
        self._in.ask_to_end()
        with self._wake:
            self._wake.notify()
        self._client.close()  # type: ignore[no-untyped-call]  # the library has some without types

    # --- the threads -----------------------------------------------------------------------------

    def _send(self) -> None:
        while not self._out.ending:
            self._out.beat()
            with self._wake:
                if not self._waiting:
                    self._wake.wait(BEAT_SECONDS)
                folders, self._waiting = list(self._waiting), {}
            if folders:
                # What comes while the server cannot be reached waits for the next try, as much of it as may.
                with self._reaching("out", self._out):
                    self._client.publish(self._channel, " ".join([self._from, *map(str, folders)]))

    def _receive(self) -> None:
        while not self._in.ending:
            with self._reaching("in", self._in), self._subscribed() as heard:
                while not self._in.ending:
                    self._in.beat()
                    message = heard.get_message(timeout=BEAT_SECONDS)
                    if message is not None:
                        self._take(message.get("data"))

    def _subscribed(self) -> PubSub:
        found: PubSub = self._client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # likewise
        found.subscribe(self._channel)  # type: ignore[no-untyped-call]  # likewise
        return found

    def _take(self, said: Any) -> None:
        if not isinstance(said, bytes) or len(said) > MESSAGE_OCTETS:
            return
        sender, *folders = said.split() or [b""]
        if sender.decode(errors="replace") == self._from:
            return
        for folder in folders:
            # Of 64 bits, as inodes are.
            if folder.isdigit() and len(folder) <= 20:
                self._heard(int(folder))

    @contextmanager
    def _reaching(self, way: str, thread: LongLived) -> Iterator[None]:
        """Say in the log when the server cannot be reached, and when it can again; wait before the next try."""
        try:
            yield
        except _errors() as error:
            if not self._lost[way] and not thread.ending:
                self._lost[way] = True
                log.warning("no hints for other hosts", way=way, why=error)
            end = time.monotonic() + PAUSE_SECONDS
            while not thread.ending and time.monotonic() < end:
                thread.beat()
                time.sleep(0.2)
        else:
            if self._lost[way]:
                self._lost[way] = False
                log.info("hints for other hosts again", way=way)


def _errors() -> tuple[type[Exception], ...]:
    from valkey import ValkeyError

    return ValkeyError, OSError


def _client(url: str) -> Valkey:
    try:
        from valkey import Valkey
    except ImportError:
        raise ConfigError("hint_server needs the library: pip install 'maildir-imapd[valkey]'") from None
    try:
        # No try again of its own: what is late is of no use.
        return Valkey.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, health_check_interval=15
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"hint_server: {error}") from error
