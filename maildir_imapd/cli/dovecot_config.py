"""Dovecot's configuration as a tree, from its text: what ``doveconf -n`` prints, of 2.3 and 2.4, or a plain file.

    name = value            a setting
    kind name {             a block, which ends with } on a line of its own
    !include FILE           only in a plain file; it is not followed

2.4 shows settings that belong together as a block: ``ssl_server { cert_file = X }`` is ``ssl_server_cert_file = X``,
and ``mail_plugins { acl = yes }`` is one of the words of ``mail_plugins``.  The tree has the longer form of the first
and the words of the second, so that whoever reads it needs to know one spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from maildir_imapd.errors import ConfigError

# The value of a setting that doveconf does not show.
HIDDEN = "# hidden"
DEEPEST = 20
# Blocks without a name whose settings are those of their parent, and those that are lists of words (2.4).
_FOLDED = ("ssl_server", "ssl_client", "mail_attribute")
_WORDS = ("protocols", "mail_plugins", "auth_mechanisms", "imap_capability", "mechanisms_filter")


@dataclass(frozen=True, slots=True)
class DovecotSetting:
    """One setting: *line* is where it stands, *name* is without the blocks around it."""

    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class DovecotBlock:
    """A block, or the whole as a block without kind and name; *name* is "" where the block has none."""

    kind: str = ""
    name: str = ""
    settings: tuple[DovecotSetting, ...] = ()
    blocks: tuple[DovecotBlock, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()

    def find(self, *names: str) -> DovecotSetting | None:
        """The setting of one of these names, with the block's kind before it or without; the last one that is said."""
        kind = f"{self.kind}_"
        wanted = {spelled for name in names for spelled in (name, kind + name, name.removeprefix(kind))}
        return next((setting for setting in reversed(self.settings) if setting.name in wanted), None)

    def get(self, *names: str) -> str:
        """The value of what ``find`` finds, or ""."""
        found = self.find(*names)
        return found.value if found is not None else ""

    def all(self, *kinds: str) -> list[DovecotBlock]:
        """The blocks of these kinds in here, not those deeper down."""
        return [block for block in self.blocks if block.kind in kinds]


@dataclass(frozen=True, slots=True)
class DovecotTree:
    """A whole configuration; *printed* by doveconf or a plain file, with the *includes* that nobody has followed."""

    root: DovecotBlock
    printed: bool
    includes: tuple[DovecotSetting, ...] = ()


@dataclass(slots=True)
class _Open:
    """A block while its lines are read."""

    kind: str
    name: str
    line: int
    settings: list[DovecotSetting] = field(default_factory=list)
    blocks: list[DovecotBlock] = field(default_factory=list)

    def closed(self) -> DovecotBlock:
        return DovecotBlock(self.kind, self.name, tuple(self.settings), tuple(self.blocks))

    def take(self, block: DovecotBlock, line: int) -> None:
        """Put a finished block into this one, in the form that the module's head promises."""
        if block.kind in _WORDS and not block.name and not block.blocks:
            said = " ".join(setting.name for setting in block.settings if setting.value in ("yes", ""))
            self.settings.append(DovecotSetting(block.kind, said, line))
        elif block.kind in _FOLDED and not block.name:
            self.settings += [DovecotSetting(f"{block.kind}_{s.name}", s.value, s.line) for s in block.settings]
            self.blocks += block.blocks
        else:
            self.blocks.append(block)


def parse(text: str) -> DovecotTree:
    """Read a configuration; raises ConfigError that names the line where it is none."""
    stack = [_Open("", "", 0)]
    includes = []
    for number, line in _lines(text):
        if line.startswith("!include"):
            directive, _, path = line.partition(" ")
            includes.append(DovecotSetting(directive, path.strip(), number))
        elif line == "}":
            if len(stack) == 1:
                raise ConfigError(f"line {number}: a block ends that never began")
            ended = stack.pop()
            stack[-1].take(ended.closed(), ended.line)
        elif (head := _block(line)) is not None:
            kind, name, whole = head
            opened = _Open(kind, name, number)
            if whole:
                stack[-1].take(opened.closed(), number)
            elif len(stack) == DEEPEST:
                raise ConfigError(f"line {number}: blocks in more blocks than Dovecot has")
            else:
                stack.append(opened)
        else:
            name, equals, value = line.partition("=")
            if not equals or not name.strip():
                raise ConfigError(f"line {number}: neither a setting nor a block of Dovecot's")
            stack[-1].settings.append(DovecotSetting(name.strip(), _value(value.strip()), number))
    if len(stack) > 1:
        raise ConfigError(f"line {stack[-1].line}: a block begins that never ends")
    printed = re.search(r"^# \d+\.\d[^\n]*: ?/", text, re.MULTILINE) is not None
    return DovecotTree(stack[0].closed(), printed and not includes, tuple(includes))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Number the lines that say something; a backslash at the end joins a line to the next."""
    joined: list[str] = []
    begun = 0
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not joined and (not line or line.startswith("#")):
            continue
        if line.endswith("\\") and not line.endswith("\\\\"):
            joined.append(line[:-1].rstrip())
            begun = begun or number
            continue
        yield begun or number, " ".join([*joined, line])
        joined, begun = [], 0
    if joined:
        yield begun, " ".join(joined)


def _block(line: str) -> tuple[str, str, bool] | None:
    """Read the line that begins a block: kind, name, and whether it ends there as well; None for another line."""
    head, brace, rest = line.rpartition("{")
    kind, _, name = head.strip().partition(" ")
    name = name.strip()
    if not brace or rest.strip() not in ("", "}") or not re.fullmatch(r"[A-Za-z0-9_!:./@*-]+", kind):
        return None
    if name.startswith("="):
        return None
    return kind, _value(name), rest.strip() == "}"


def _value(written: str) -> str:
    """Take quotes and a comment off a value."""
    if written.startswith(HIDDEN):
        return HIDDEN
    if match := re.match(r'"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$', written):
        return re.sub(r"\\(.)", r"\1", match[1])
    if match := re.match(r"'([^']*)'\s*(?:#.*)?$", written):
        return match[1]
    if written.startswith("#"):
        return ""
    comment = re.search(r"[ \t]#", written)
    return written[: comment.start()].rstrip() if comment else written
