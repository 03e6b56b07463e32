"""Clients that believe what NOTIFY tells them, and ask for nothing, know what is there (RFC 5465).

They stand beside a client that only works, and programs that deliver, rename, remove and edit behind everybody's back.
What is told of names, figures and annotations is checked twice: as it is told, against the rights of that moment,
and in the end against a fresh look.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from memory import MemoryClient, MemoryWires
from model_client import Believer, numbers
from spool import Spool

from maildir_imapd.store.account import Account
from maildir_imapd.store.maildir.layout import Places

MESSAGES = "MessageNew MessageExpunge"
FLAGGED = f"{MESSAGES} FlagChange"
OTHERS = "MailboxName SubscriptionChange MailboxMetadataChange"
NAMES = ("INBOX", "A", "A.B", "A.B.C", "D", "D.E", "F")
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "kw1")
COMMENT = "/private/comment"
# What a list of rights gives; where there is none, everything.
RIGHTS = ("lrswipkxtea", "lrswipkxtea", "lra", "la", "ra", "a")


@dataclass(frozen=True)
class Wish:
    """One NOTIFY command, and what it asks for: of the open mailbox, and of others by expressions for their names."""

    text: str
    messages: str = ""
    flags: str = ""
    names: str = ""
    subscriptions: str = ""
    metadata: str = ""
    subscribed: bool = False
    selected: str = ""


ALL = ".+"
BELOW_A = r"A(\..+)?"
ONE_BELOW_A = r"A(\.[^.]+)?"
ELSEWHERE = r"(?!(A\.B|D)(\.|$)).+"
WISHES = (
    Wish(f"(PERSONAL ({FLAGGED} {OTHERS}))", ALL, ALL, ALL, ALL, ALL),
    Wish(
        f"(SELECTED (MessageNew (UID FLAGS) MessageExpunge FlagChange)) (INBOXES ({FLAGGED} {OTHERS}))",
        *[ALL] * 5,
        selected="flags",
    ),
    Wish(
        f"(SELECTED-DELAYED (MessageNew (FLAGS UID) MessageExpunge FlagChange)) (PERSONAL ({MESSAGES} {OTHERS}))",
        messages=ALL,
        names=ALL,
        subscriptions=ALL,
        metadata=ALL,
        selected="flags",
    ),
    # Without names: of each name only figures.
    Wish(f"(PERSONAL ({FLAGGED})) (SELECTED ({MESSAGES}))", ALL, ALL, selected="messages"),
    Wish(
        f"(SUBTREE A ({FLAGGED} MailboxName)) (MAILBOXES (INBOX D) ({MESSAGES}))"
        " (PERSONAL (SubscriptionChange MailboxMetadataChange))",
        messages=rf"{BELOW_A}|INBOX|D",
        flags=BELOW_A,
        names=BELOW_A,
        subscriptions=ALL,
        metadata=ALL,
    ),
    Wish(f"(SUBTREE-ONE (A) ({FLAGGED} MailboxName)) (SELECTED ({MESSAGES}))", *[ONE_BELOW_A] * 3, selected="messages"),
    Wish(
        f"(SUBTREE (A.B D) NONE) (PERSONAL ({FLAGGED} MailboxName SubscriptionChange)) (SELECTED ({FLAGGED}))",
        *[ELSEWHERE] * 4,
        selected="flags",
    ),
    Wish(
        f"(SUBSCRIBED ({FLAGGED})) (PERSONAL (MailboxName SubscriptionChange))",
        names=ALL,
        subscriptions=ALL,
        subscribed=True,
    ),
)

NO_WISH = Wish("NONE")


def within(names: Iterable[str], pattern: str) -> set[str]:
    """Those of *names* that a part of a wish means."""
    return {name for name in names if re.fullmatch(pattern, name)}


@dataclass
class Figures:
    """What a client believes of a mailbox; None where it cannot know."""

    messages: int | None = 0
    uidnext: int | None = 1
    unseen: int | None = 0
    uidvalidity: int | None = None
    modseq: int | None = None


@dataclass
class Truth:
    """What a fresh session sees."""

    attributes: dict[str, frozenset[str]] = field(default_factory=dict)
    figures: dict[str, Figures] = field(default_factory=dict)
    subscribed: set[str] = field(default_factory=set)
    comments: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        # (\Noselect also stands at what may not be read, RFC 5819 2.)
        return {name for name, words in self.attributes.items() if "\\NonExistent" not in words}


class World:
    """A spool, its rights as the files say them, and who works on it."""

    def __init__(self, base: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        nested = seed % 3 == 2
        self.spool = Spool(base / "Maildir", nested=nested)
        places = Places(bytes(self.spool.root), "fs" if nested else "maildir++")
        self.wires = MemoryWires(Account(places, fsync="never"))
        self.delimiter = self.wires.account.delimiter
        self.hand = self.wires.connect(login=True)
        self.eye = self.wires.connect(login=True)
        self.edits = 0
        self.shown: set[str] = set()
        # What has happened, for whoever has to find out why a client believes what is wrong.
        self.trace: list[str] = []

    def wire(self, name: str) -> str:
        """A name with this spool's delimiter."""
        return name.replace(".", self.delimiter)

    def path(self, name: str) -> Path:
        return self.spool.path(self.wire(name))

    def all(self) -> set[str]:
        """Every mailbox that there is."""
        root = self.spool.root
        folders = [cur.parent.relative_to(root) for cur in root.rglob("cur") if cur.parent != root]
        return {"INBOX", *(str(path).replace("/", ".").lstrip(".") for path in folders)}

    def exists(self, name: str) -> bool:
        return (self.path(name) / "cur").is_dir()

    def rights(self, name: str) -> set[str]:
        """What the owner may do, by the file itself."""
        try:
            text = (self.path(name) / "dovecot-acl").read_text()
        except OSError:
            return set("lrswipkxtea")
        return set(text.split()[1]) if text.strip() else set("lrswipkxtea")

    def edit(self, name: str, rights: str) -> None:
        """Write the list of rights as an editor does: beside it, and over it."""
        # Of another length each time: two edits within the clock's grain are two.
        self.edits += 1
        self.trace.append(f"! {name} has {rights}")
        path = self.path(name)
        (path / "acl.tmp").write_text(f"owner {rights}\n" + "#" * self.edits + "\n")
        os.replace(path / "acl.tmp", path / "dovecot-acl")

    def command(self, client: MemoryClient, text: str) -> list[str]:
        lines = [line.decode() for line in client.command(f"h {text}".encode())]
        assert lines[-1].split()[1] in ("OK", "NO", "BYE"), lines[-1]
        return lines

    def do(self, text: str) -> bool:
        """Let the client that only works give a command; says whether it was obeyed."""
        done = self.command(self.hand, text)[-1]
        self.trace.append(f"- {text} -> {done}")
        if self.hand.engine.over:
            self.wires.clients.remove(self.hand)
            self.hand = self.wires.connect(login=True)
        return done.startswith("h OK")

    def listed(self, name: str) -> frozenset[str] | None:
        """How LIST describes a name."""
        for line in self.command(self.eye, f'LIST "" {self.wire(name)} RETURN (SUBSCRIBED CHILDREN)'):
            if match := re.match(r"\* LIST \((.*?)\)", line):
                return frozenset(match[1].split()) - {"\\Marked"}
        return None

    def show(self) -> None:
        """Note which mailboxes the owner may see at this moment."""
        self.shown |= {name for name in self.all() if self.visible(name)}

    def visible(self, name: str) -> bool:
        return self.exists(name) and "l" in self.rights(name)

    def look(self) -> Truth:
        """Ask for everything as somebody who knows nothing."""
        truth = Truth()
        client = self.wires.connect(login=True)
        figures = "MESSAGES UIDNEXT UNSEEN UIDVALIDITY HIGHESTMODSEQ"
        for line in self.command(client, f'LIST "" * RETURN (SUBSCRIBED CHILDREN STATUS ({figures}))'):
            if match := re.match(r'\* LIST \((.*?)\) "." (\S+)', line):
                truth.attributes[match[2].replace("/", ".")] = frozenset(match[1].split())
            elif match := re.match(r"\* STATUS (\S+) \((.*)\)", line):
                truth.figures[match[1].replace("/", ".")] = Figures(*map(int, match[2].split()[1::2]))
        for line in self.command(client, 'LSUB "" *'):
            if match := re.match(r'\* LSUB \((.*?)\) "." (\S+)', line):
                truth.subscribed.add(match[2].replace("/", "."))
        for name in truth.names:
            truth.comments[name] = self.comment(client, name)
        client.command(b"bye LOGOUT")
        self.wires.clients.remove(client)
        return truth

    def comment(self, client: MemoryClient, name: str) -> str:
        """The annotation of a mailbox, "" for one that cannot be had."""
        for line in self.command(client, f"GETMETADATA {self.wire(name)} {COMMENT}"):
            if match := re.match(r'\* METADATA \S+ \(\S+ (?:"(.*)"|NIL)\)', line):
                return match[1] or ""
        return ""


class Watcher:
    """A client that asks once, and then believes."""

    def __init__(self, world: World, *, condstore: bool) -> None:
        self.world = world
        self.condstore = condstore
        self.number = len(world.wires.clients)
        self.tag = 0
        self.begin()

    def note(self, text: str) -> None:
        self.world.trace.append(f"{self.number} {text}")

    # --- the connection ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Log in, look at everything, and say what is of interest."""
        self.client = self.world.wires.connect(login=True)
        self.note("begins")
        self.open: Believer | None = None
        self.open_name = ""
        self.idle = False
        self.coming: list[str] = []
        self.done: Callable[[str], None] | None = None
        self.wishes = Wish("")
        self.names: set[str] = set()
        self.subscribed: set[str] = set()
        self.figures: dict[str, Figures] = {}
        self.comments: dict[str, str] = {}
        self.stale: set[str] = set()
        if self.condstore:
            self.command("ENABLE QRESYNC")
        self.wish(self.world.rng.choice(WISHES))

    def wish(self, wish: Wish) -> None:
        """Give a NOTIFY command; from here on what a fresh look shows is known."""
        text = re.sub(r"\b(A|D)\.(B\.C|B|E)\b", lambda match: self.world.wire(match[0]), wish.text)
        self.wishes = wish
        if not self.command(f"NOTIFY {text}" if wish is NO_WISH else f"NOTIFY SET {text}"):
            return
        truth = self.world.look()
        self.names = truth.names
        self.subscribed = truth.subscribed
        self.comments = truth.comments
        self.stale = set()
        # What was no concern of the last command may have changed by the time it is.
        self.figures = {
            name: figures
            for name, figures in truth.figures.items()
            if re.fullmatch(wish.messages, name) or (wish.subscribed and name in self.subscribed)
        }

    def command(self, text: str, done: Callable[[str], None] | None = None) -> bool:
        """Send a command, and say whether it was obeyed; *done* is given the tagged line as it is heard."""
        if self.idle:
            self.idle = False
            self.hear_all(self.client.command(b"DONE"))
            if self.client.engine.over:
                self.begin()
                return False
        self.tag += 1
        self.note(f"C: {text}")
        self.done = done
        lines = self.client.command(f"t{self.tag} {text}".encode())
        self.hear_all(lines)
        if self.client.engine.over:
            self.begin()
            return False
        # What is told without a command may come behind the tagged line.
        word = next(line for line in lines if line.startswith(b"t%d " % self.tag)).split()[1]
        assert word in (b"OK", b"NO"), lines
        return word == b"OK"

    def listen(self) -> None:
        """Hear what is told without a command."""
        if data := self.client.unread():
            self.client._out.clear()
            self.hear_all(data.split(b"\r\n")[:-1])
        if self.client.engine.over:
            self.begin()

    def hear_all(self, lines: list[bytes]) -> None:
        listed = [re.match(rb'\* LIST \(.*?\) "." (\S+)', line) for line in lines]
        self.coming = [match[1].decode().replace("/", ".") for match in listed if match]
        for line in lines:
            self.note(f"S: {line.decode()}")
            self.hear(line.decode())

    # --- what it is told --------------------------------------------------------------------------

    def hear(self, line: str) -> None:
        if match := re.fullmatch(r"\* STATUS (\S+) \((.*)\)", line):
            self.hear_status(match[1].replace("/", "."), match[2].split())
        elif match := re.fullmatch(r'\* LIST \((.*?)\) "." (\S+)(?: \("OLDNAME" \((\S+)\)\))?', line):
            self.hear_list(match[2].replace("/", "."), set(match[1].split()), (match[3] or "").replace("/", "."))
        elif match := re.fullmatch(rf"\* METADATA (\S+) {COMMENT}", line):
            name = match[1].replace("/", ".")
            assert "l" in self.world.rights(name) or not self.world.exists(name), line
            self.stale.add(name)
        elif self.done is not None and (line.startswith(f"t{self.tag} OK") or "* OK [COPYUID" in line):
            self.done(line)
        elif self.open is not None:
            self.open.hear(line)

    def hear_status(self, name: str, words: list[str]) -> None:
        assert {"l", "r"} <= self.world.rights(name), (name, words)
        assert name != self.open_name, (name, words)
        figures = self.figures.setdefault(name, Figures(None, None, None))
        for item, value in zip(words[::2], words[1::2], strict=True):
            setattr(figures, {"HIGHESTMODSEQ": "modseq"}.get(item, item.lower()), int(value))

    def hear_list(self, name: str, words: set[str], before: str) -> None:
        world = self.world
        self.coming.remove(name)
        if "\\NoAccess" in words:
            # Only of what is there for this client, or has been since all was last compared.
            assert world.visible(name) or name in world.shown, (name, words)
            return
        if world.exists(name) and not world.visible(name):
            # Of a mailbox that is hidden only its end may be told, or that it is above others, or subscribed.
            # (By a name that it has got by its parent's, too.)
            below = [other for other in world.all() | world.shown if other.startswith(name + ".")]
            assert (
                name in world.shown
                or name in self.names
                or name in self.subscribed
                or "\\Subscribed" in words
                or any(world.visible(other) or other in world.shown for other in below)
            ), (name, words)
        listed = world.listed(name)
        if "\\NonExistent" in words and name in self.coming:
            pass  # it has come again since
        elif listed is None:
            assert words - {"\\Subscribed"} == {"\\NonExistent", "\\HasNoChildren"}, (name, words)
        elif "\\NonExistent" not in words or words - {"\\NonExistent"} != listed:
            # (Or it has come again, and the server has not looked yet.)
            assert words - {"\\Marked"} == listed, (name, words, listed)
        if before:
            self.rename(before, name)
        self.subscribed -= {name}
        if "\\Subscribed" in words:
            self.subscribed.add(name)
        if "\\NonExistent" in words:
            self.forget(name)
        elif name not in self.names:
            self.learn(name)
        else:
            # It may have been without access until now.
            self.stale.add(name)

    def learn(self, name: str) -> None:
        """There is a mailbox that was not there."""
        self.names.add(name)
        self.figures[name] = Figures()
        self.stale.add(name)

    def rename(self, old: str, new: str) -> None:
        """Children go along (5.4)."""
        names = self.names | self.figures.keys()
        moved = {name: new + name[len(old) :] for name in names if name == old or name.startswith(old + ".")}
        kept = {
            name: (self.figures.get(name, Figures(None, None, None)), self.comments.get(name, "")) for name in moved
        }
        for name in [*moved, new]:
            self.forget(name)
        for name, after in moved.items():
            self.learn(after)
            self.figures[after], self.comments[after] = kept[name]

    def forget(self, name: str) -> None:
        self.names.discard(name)
        self.figures.pop(name, None)
        self.comments.pop(name, None)

    # --- what it does itself ----------------------------------------------------------------------

    def act(self) -> None:
        """Do something."""
        world, rng = self.world, self.world.rng
        name, other = rng.choice(NAMES), rng.choice(NAMES)
        match rng.randrange(20):
            case 16 | 17 | 18:
                self.store()
            case 19:
                # What was not told until now is told with this, if it is wanted now.
                self.wish(rng.choice((*WISHES, NO_WISH)))
            case 0 | 1 | 2:
                self.select(name)
            case 3:
                self.unselect()
            case 4:
                self.command("NOOP")
            case 5 if not self.idle:
                self.idle = True
                self.note("C: IDLE")
                self.hear_all(self.client.command(b"i IDLE"))
            case 6 | 7:
                self.append(name)
            case 8 if self.open is not None and self.open.messages:
                self.store()
            case 9 if self.open is not None and self.open.messages:
                number = rng.randint(1, len(self.open.messages))
                self.copy(f"{rng.choice(('COPY', 'MOVE'))} {number}", other)
            case 10 if self.open is not None:
                self.command("EXPUNGE")
            case 11:
                self.command(f"CREATE {world.wire(name)}", lambda _: self.created(name))
            case 12 if name not in ("INBOX", self.open_name):
                self.command(f"DELETE {world.wire(name)}", lambda _: self.forget(name))
            case 13 if name != "INBOX" and not f"{self.open_name}.".startswith(f"{name}."):
                self.command(f"RENAME {world.wire(name)} {world.wire(other)}", lambda _: self.renamed(name, other))
            case 14:
                self.command(f"SUBSCRIBE {world.wire(name)}", lambda _: self.subscribed.add(name))
            case 15:
                self.command(f"UNSUBSCRIBE {world.wire(name)}", lambda _: self.subscribed.discard(name))

    def store(self) -> None:
        """Change a message's flags, and with .SILENT be sure of that and no more."""
        rng = self.world.rng
        self.command("NOOP") if self.idle else None
        if self.open is None or not self.open.messages:
            return
        number = rng.randint(1, len(self.open.messages))
        sign, flags = rng.choice(("+", "+", "-", "")), rng.sample(FLAGS, rng.randint(1, 2))
        if rng.random() < 0.5:
            self.command(f"STORE {number} {sign}FLAGS ({' '.join(flags)})")
            return
        belief = self.open
        self.command(
            f"STORE {number} {sign}FLAGS.SILENT ({' '.join(flags)})", lambda _: belief.did(number, sign, flags)
        )

    def created(self, name: str) -> None:
        """It is there and empty now, whatever was known of that name; parents that are lacking are made too."""
        for end in [k for k, letter in enumerate(name) if letter == "."]:
            # One that is hidden is above it without being there.
            if name[:end] not in self.names | self.figures.keys() and self.world.visible(name[:end]):
                self.learn(name[:end])
        self.learn(name)

    def renamed(self, old: str, new: str) -> None:
        self.created(new)
        if old != "INBOX":
            self.rename(old, new)

    def append(self, name: str) -> None:
        """One unseen message more."""

        def done(line: str) -> None:
            uid = re.search(r"APPENDUID \d+ (\d+)", line)
            if uid:
                self.add(name, [int(uid[1])], unseen=1)

        self.command(f"APPEND {self.world.wire(name)} {{4+}}\r\na: b", done)

    def copy(self, command: str, name: str) -> None:
        def done(line: str) -> None:
            uids = re.search(r"COPYUID \d+ \S+ (\S+)\]", line)
            if uids:
                self.add(name, sorted(numbers(uids[1])), unseen=None)

        self.command(f"{command} {self.world.wire(name)}", done)

    def add(self, name: str, uids: list[int], unseen: int | None) -> None:
        """Know of what it has put into a mailbox itself."""
        if name == self.open_name:
            return
        figures = self.figures.setdefault(name, Figures(None, None, None))
        if figures.messages is not None:
            figures.messages += len(uids)
        figures.uidnext = uids[-1] + 1
        figures.unseen = None if unseen is None or figures.unseen is None else figures.unseen + unseen
        figures.modseq = None

    def select(self, name: str) -> None:
        self.unselect()
        if self.open is not None:
            return
        self.open = opened = Believer(follows_modseq=self.condstore)

        def done(_line: str) -> None:
            self.open_name = name

        word = self.world.rng.choice(("SELECT", "SELECT", "EXAMINE"))
        if self.command(f"{word} {self.world.wire(name)}", done):
            self.ask()
        elif self.open is opened:
            self.open = None

    def unselect(self) -> None:
        if self.open is None:
            return
        belief, name = self.open, self.open_name
        self.command("NOOP")
        if self.open is not belief:
            return
        flags = [flags for uid, flags in belief.messages if uid]
        known = self.wishes.selected == "flags" and len(flags) == len(belief.messages)
        unseen = sum("\\Seen" not in each for each in flags) if known else None
        self.figures[name] = replace(self.figures.get(name, Figures()), modseq=None, uidnext=None)
        self.figures[name].messages, self.figures[name].unseen = len(belief.messages), unseen

        def done(_line: str) -> None:
            self.open, self.open_name = None, ""

        self.command("UNSELECT", done)

    def ask(self) -> None:
        """Learn UIDs and flags."""
        if self.open is not None and self.open.messages:
            self.command("FETCH 1:* (UID FLAGS)")

    # --- the end ----------------------------------------------------------------------------------

    def check(self, truth: Truth) -> None:
        """Compare what is believed with a fresh look."""
        wish = self.wishes
        hidden = {name for name in self.world.all() if not self.world.visible(name)}
        assert within(self.names, wish.names) == within(truth.names, wish.names), (self.number, self.names)
        assert within(self.subscribed - hidden, wish.subscriptions) == within(truth.subscribed, wish.subscriptions)
        for name in self.stale & truth.names:
            self.comments[name] = self.world.comment(self.client, name)
        self.stale.clear()
        readable = {name for name in truth.names if {"l", "r"} <= self.world.rights(name)}
        # (STATUS of a folder that has been replaced by another one may say NO, once.)
        assert truth.figures.keys() <= readable
        readable &= truth.figures.keys()
        for name in within(within(within(readable, wish.metadata), wish.names), wish.messages):
            assert self.comments.get(name, "") == truth.comments[name], name
        about = readable & self.subscribed if wish.subscribed else within(readable, wish.messages)
        flags = about if wish.subscribed else within(readable, wish.flags)
        for name in about - {self.open_name}:
            true = truth.figures[name]
            belief = self.figures.get(name)
            if belief is None:
                assert not true.messages, name
                continue
            assert belief.messages in (None, true.messages), (name, belief, true)
            assert belief.uidnext in (None, true.uidnext), (name, belief, true)
            if name in flags:
                assert belief.unseen in (None, true.unseen), (name, belief, true)
                assert belief.uidvalidity in (None, true.uidvalidity), (name, belief, true)
                assert not self.condstore or belief.modseq in (None, true.modseq), (name, belief, true)

    def check_open(self) -> None:
        """Ask for all that is untold, and compare the open mailbox with a fresh look."""
        if self.open is None or self.client.engine.over:
            return
        name, belief = self.open_name, self.open
        self.wish(replace(WISHES[1], text="(SELECTED (MessageNew (UID FLAGS) MessageExpunge FlagChange))"))
        while self.open is belief and (new := belief.unknown()):
            self.command(f"FETCH {new[0]}:{new[-1]} (UID FLAGS)")
        if self.open is not belief or not {"l", "r"} <= self.world.rights(name):
            return
        eye, fresh = self.world.eye, Believer()
        for text in (f"EXAMINE {self.world.wire(name)}", "UID FETCH 1:* FLAGS", "UNSELECT"):
            lines = self.world.command(eye, text)
            assert lines[-1].startswith("h OK"), lines[-1]
            for line in lines:
                fresh.hear(line)
        assert belief.messages == fresh.messages, name


def meddle(world: World, watchers: list[Watcher]) -> None:
    """One random change, by the client that works or by another program."""
    rng = world.rng
    name, other = rng.choice(NAMES), rng.choice(NAMES)
    here = world.exists(name)
    wired = world.wire(name)
    bases = [file.split(":")[0] for file in world.spool.files(wired)] if here else []
    opened = {watcher.open_name for watcher in watchers}
    match rng.randrange(26):
        case 0 | 1 | 2 if here:
            world.spool.simple(wired, rng.randint(1, 2), None)
        case 3 | 4 if bases:
            world.spool.reflag(wired, rng.choice(bases), rng.choice(("", "S", "F", "FS")))
        case 5 if len(bases) > 1:
            world.spool.remove(wired, rng.choice(bases))
        case 6 | 7 | 8:
            world.do(f"APPEND {wired} {{4+}}\r\na: b")
        case 9 | 10 | 11 if world.do(f"SELECT {wired}"):
            world.do(f"UID STORE * {rng.choice('+-')}FLAGS ({rng.choice(FLAGS)})")
        case 12 if world.hand.session.view is not None:
            world.do("EXPUNGE")
        case 13:
            world.do(f"CREATE {wired}")
        case 14 if name != "INBOX" and (name not in opened or rng.random() < 0.2):
            world.do(f"DELETE {wired}")
        case 15 | 16:
            world.do(f"RENAME {wired} {world.wire(other)}")
        case 17:
            world.do(f"SUBSCRIBE {wired}")
        case 18:
            world.do(f"UNSUBSCRIBE {wired}")
        case 19:
            world.do(f'SETMETADATA {wired} ({COMMENT} "{rng.randrange(3)}")')
        case 20 if name != "INBOX":
            world.do(f"SETACL {wired} ann {rng.choice(RIGHTS)}")
        case 21 | 22 if here and name != "INBOX":
            world.edit(name, rng.choice(RIGHTS))
        case 23 if not here:
            world.spool.folder(wired)
        case 24 if here and name != "INBOX" and name not in opened:
            shutil.rmtree(world.path(name))
            world.trace.append(f"! {name} removed")
        case 25 if here and not world.path(other).exists() and "INBOX" not in (name, other):
            world.path(other).parent.mkdir(parents=True, exist_ok=True)
            if not f"{other}.".startswith(f"{name}."):
                os.rename(world.path(name), world.path(other))
                world.trace.append(f"! {name} is {other}")
    if rng.random() < 0.3:
        world.wires.changed()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(12))
def test_clients_know_what_is_there(seed: int, tmp_path: Path) -> None:
    world = World(tmp_path, seed)
    for name in ("A", "A.B", "D"):
        world.spool.folder(world.wire(name))
    world.spool.simple("INBOX", 3)
    world.show()
    watchers = [Watcher(world, condstore=k == 1) for k in range(3)]
    try:
        for step in range(240):
            if world.rng.random() < 0.6:
                meddle(world, watchers)
            else:
                world.rng.choice(watchers).act()
            world.show()
            if world.rng.random() < 0.4:
                world.rng.choice(watchers).listen()
            if step % 16 == 15:
                compare(world, watchers)
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *world.trace[-60:]])) from error


def compare(world: World, watchers: list[Watcher]) -> None:
    """Let everybody hear what there is to hear, and look."""
    world.trace.append("=== compare")
    world.wires.changed()
    for watcher in watchers:
        watcher.listen()
        watcher.command("NOOP")
    truth = world.look()
    for watcher in watchers:
        watcher.check(truth)
    for watcher in watchers:
        watcher.check_open()
        watcher.wish(world.rng.choice(WISHES))
    world.shown.clear()
    world.show()
