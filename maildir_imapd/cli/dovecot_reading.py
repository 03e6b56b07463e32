"""Reading a tree of Dovecot's: what has been understood is marked, so that the rest can be named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from maildir_imapd.cli.dovecot_config import DovecotBlock, DovecotSetting, DovecotTree
from maildir_imapd.cli.imported import Imported
from maildir_imapd.config import BY_NAME

# Ours are those of 2.3; of the filters of 2.4 only the one that all names pass here, too.
_SHORT = {"user": "%u", "username": "%n", "domain": "%d", "home": "%h"}
_FILTERED = {("user", "username"): "%n", ("user", "domain"): "%d"}


@dataclass(slots=True)
class DovecotReading:
    """A tree that is being read, and what has come of it so far."""

    tree: DovecotTree
    out: Imported = field(default_factory=Imported)
    _taken: set[DovecotSetting] = field(default_factory=set)

    @property
    def root(self) -> DovecotBlock:
        """The whole tree."""
        return self.tree.root

    @property
    def imap(self) -> list[DovecotBlock]:
        """Where settings of IMAP stand, the one that decides last."""
        return [self.root, *(block for block in self.root.all("protocol") if block.name == "imap")]

    def take(self, block: DovecotBlock, *names: str) -> str:
        """Return the value of a setting, or "", and mark it as understood."""
        found = block.find(*names)
        if found is None:
            return ""
        self._taken |= {setting for setting in block.settings if setting.name == found.name}
        return found.value

    def take_imap(self, *names: str) -> str:
        """Do the same for a setting that ``protocol imap`` may say otherwise than the rest."""
        return next(reversed([said for block in self.imap if (said := self.take(block, *names))]), "")

    def take_plugins(self, pattern: str) -> list[DovecotSetting]:
        """Mark the settings that match, of plugins (2.3) and at the top (2.4), and return them."""
        matches = re.compile(pattern).fullmatch
        blocks = [*self.imap, *(inner for block in self.imap for inner in block.all("plugin"))]
        found = [setting for block in blocks for setting in block.settings if matches(setting.name)]
        self._taken |= set(found)
        return found

    def carry(self, ours: str, value: str) -> None:
        """Take a value over if it is one of ours, too."""
        short = re.sub(r"^(\d+(?:\.\d+)?)\s*([a-z])[a-z]*$", r"\1\2", value, flags=re.IGNORECASE)
        short = short if ours != "greeting" else value
        if ours in ("quota_storage", "quota_grace", "append_limit", "delivery_limit", "line_limit"):
            short = short.upper()
        try:
            BY_NAME[ours].check(short)
        except ValueError as error:
            self.out.tell(f"{ours} ({value})", f"it {error} here")
        else:
            self.out.settings[ours] = int(short) if short.isdigit() and ours != "greeting" else short

    def pass_over(self, block: DovecotBlock) -> None:
        """Mark all that stands in a block."""
        self._taken |= {setting for _, setting in _leaves(block, "")}

    def rest(self) -> list[tuple[str, DovecotSetting]]:
        """The settings that nothing has taken, with the path of the blocks they stand in."""
        return [(path, setting) for path, setting in _leaves(self.root, "") if setting not in self._taken]

    def plugins(self) -> set[str]:
        """The plugins that IMAP loads, with those whose settings are there where the list is in another file."""
        words = {word for block in self.imap for word in self.take(block, "mail_plugins").split()}
        elsewhere = {word for word in words if word.startswith("<")}
        for word in sorted(elsewhere):
            self.out.tell(
                "mail_plugins", f"the list is in {word[1:]}; what the settings of plugins say is taken for it"
            )
        if elsewhere:
            said = " ".join(setting.name for setting in self._plugin_settings())
            signs = {"acl": "acl", "quota": "quota", "zlib": "zlib_save", "mail_crypt": "mail_crypt_"}
            words |= {plugin for plugin, sign in signs.items() if sign in said}
        return words - elsewhere - {"$mail_plugins"}

    def _plugin_settings(self) -> Iterator[DovecotSetting]:
        for block in self.root.all("plugin"):
            yield from block.settings


def _leaves(block: DovecotBlock, path: str) -> Iterator[tuple[str, DovecotSetting]]:
    for setting in block.settings:
        yield path + setting.name, setting
    for inner in block.blocks:
        yield from _leaves(inner, f"{path}{inner}/")


def translated(path: str, *, low: bool = False) -> str:
    """Spell the variables of a path as ours; those that we have not stay as they are.

    *low*: keep that they are in small letters, as %Lu, which no path here can say.
    """

    def short(match: re.Match[str]) -> str:
        words = [word.strip() for word in match[1].split("|")]
        letters = "%L" if "lower" in words else "%"
        words = [word for word in words if word != "lower"]
        if len(words) == 1:
            found = _SHORT.get(words[0])
        else:
            found = _FILTERED.get((words[0], " ".join(words[1:])))
        return match[0] if found is None else found.replace("%", letters)

    found = re.sub(r"%\{([^}]*)\}", short, path)
    return found if low else re.sub(r"%L([undh])", r"%\1", found)


def pairs(written: str) -> dict[str, str]:
    """The ``name=value`` words of an argument; one without "=" is the last one's path, under ""."""
    found = {}
    for word in written.split():
        name, equals, value = word.partition("=")
        if equals and not word.startswith("/"):
            found[name] = value
        else:
            found[""] = word
    return found


def is_on(value: str) -> bool:
    """Whether a switch of Dovecot's is on."""
    return value.lower() in ("yes", "y", "true", "1", "on")


def shown(setting: DovecotSetting | None, name: str) -> str:
    """Name a setting with its value, for what is told of it."""
    return name if setting is None or not setting.value else f"{name} = {setting.value}"
