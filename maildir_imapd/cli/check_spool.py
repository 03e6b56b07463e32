"""maildir-imapd check-spool: whether a mount can be trusted with mail that several hosts serve."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from maildir_imapd.cli.group import FAILED
from maildir_imapd.cli.output import Value, json_option, print_json, print_rows
from maildir_imapd.errors import ConfigError

_COLUMNS = ("what", "result", "found")
# Seconds until the other side has ended when there is nothing more to do.
_END_SECONDS: Final = 20.0


@click.command("check-spool", short_help="Say whether a mount can be trusted with mail that several hosts serve.")
@click.argument("path", metavar="PATH", type=click.Path(exists=True, file_okay=False))
@click.option("--peer", metavar="HOST", help="Another host with the same mount: ssh HOST runs this command there.")
@click.option("--other-mount", metavar="PATH2", help="The same spool mounted once more, on this host.")
@click.option(
    "--through",
    metavar="COMMAND",
    help="How the command is run on the other side, in place of 'ssh HOST maildir-imapd'; words as for a shell.",
)
@click.option("--as-other", is_flag=True, hidden=True, help="Be the other side, on standard input and output.")
@json_option
def check_spool(
    path: str, peer: str | None, other_mount: str | None, through: str | None, as_other: bool, as_json: bool
) -> None:
    """Say whether a mount can be trusted with mail that several hosts serve.

    It is tried from two sides: with --peer from another host that mounts the same spool at the same PATH, with
    --other-mount from a second mount on this host; both for another PATH there.  Without either what one host alone can
    try is tried, as before a shared spool is served.  Files are made in a directory below PATH and removed again.

    Each line is ok, note (it costs time, or has to be known) or fails (mail would be lost or shown wrong); what is to
    be changed follows.  Exit status 1 where something fails.

    \b
    Example:
      maildir-imapd check-spool /srv/mail --peer mail2
    """
    from maildir_imapd.server import spool_check

    if as_other:
        spool_check.serve_other(path, iter(sys.stdin.readline, ""), lambda line: print(line, flush=True))
        return
    words = _other(peer, through, other_mount)
    if words is None:
        found = spool_check.alone(path)
    else:
        with spool_check.place(path) as made:
            there = os.path.join(other_mount or path, os.path.basename(made))
            other = _Other([*words, "check-spool", "--as-other", there])
            try:
                found = spool_check.both(made, other)
            finally:
                other.close()
    kind = spool_check.kind_of(path)
    failed = [each for each in found if each.result == "fails"]
    change = spool_check.advice(kind) if failed else ()
    rows: list[dict[str, Value]] = [{"what": each.key, "result": each.result, "found": each.words} for each in found]
    if as_json:
        print_json({"ok": not failed, "type": kind, "found": rows, "change": list(change)})
    else:
        print_rows(_COLUMNS, rows, as_json=False)
        for line in change:
            click.echo(f"change: {line}")
        if failed:
            click.echo(f"{path} ({kind}) cannot be trusted: {', '.join(dict.fromkeys(e.key for e in failed))}")
        elif words is None:
            click.echo(f"{path} ({kind}): nothing is wrong that one host alone can see; try it with --peer")
        else:
            click.echo(f"{path} ({kind}) can be trusted")
    sys.exit(FAILED if failed else 0)


def _other(peer: str | None, through: str | None, other_mount: str | None) -> list[str] | None:
    """The words that run this program on the other side; None where there is none."""
    if through is not None:
        return shlex.split(through)
    if peer is not None:
        return ["ssh", "-o", "BatchMode=yes", "--", peer, "maildir-imapd"]
    return [sys.executable, "-m", "maildir_imapd"] if other_mount is not None else None


class _Other:
    """An Actor in another process, on this host or on another one: a line of JSON each way (``spool_check.Other``)."""

    def __init__(self, words: Sequence[str]) -> None:
        try:
            # The administrator's own words, and no shell.
            self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        except OSError as error:
            raise ConfigError(f"{words[0]}: {error.strerror}") from error
        self._words = shlex.join(words)

    def begin(self, what: str, *given: Any) -> None:
        """Ask, and do not wait."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([what, *given]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # there is no answer then, which is said

    def end(self) -> Any:
        """Wait for the answer; raises ConfigError where there is none."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            raise ConfigError(f"no answer from: {self._words}") from None

    def do(self, what: str, *given: Any) -> Any:
        """Ask, and wait for the answer."""
        self.begin(what, *given)
        return self.end()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.stdout.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
