"""Make the manual: man/*.in, hand-written, with the settings, the commands and the disk formats filled in.

    scripts/man             write man/ and contrib/completion/
    scripts/man --check     write nothing; exit status 1 if they are not what the code says

A line ``.\\" @NAME@`` in a template is replaced: by every setting (SETTINGS), by every command (COMMANDS) or some
(COMMANDS name,name), by the exit statuses (STATUSES), or by the table in a module's docstring (FORMAT module).
A command with a page of its own is a line on the page of all commands.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from maildir_imapd import __released__, __version__
from maildir_imapd.cli import main as command_line
from maildir_imapd.cli.group import STATUSES, each_command
from maildir_imapd.config import BY_NAME, SETTINGS

MAN = Path(__file__).parent.parent / "man"
COMPLETION = MAN.parent / "contrib" / "completion"
# Commands that have a page of their own, and which.
OWN_PAGES = {
    "mailbox": "mailbox",
    "acl": "mailbox",
    "quota": "mailbox",
    "message": "message",
    "doctor": "doctor",
    "explain": "doctor",
    "index": "doctor",
    "check-spool": "check-spool",
}
_FILL = re.compile(r'^\.\\" @([A-Z]+)(?: (\S+))?@$', re.MULTILINE)


def escape(text: str) -> str:
    """Spell text so that roff prints it as it is."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("~", "\\(ti").replace("^", "\\(ha")
    )
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def settings() -> Iterator[str]:
    """Every setting, in its groups."""
    group = ""
    for setting in SETTINGS:
        if setting.group != group:
            group = setting.group
            yield f".SS {escape(group)}"
        yield ".TP"
        many = " (one or a list)" if setting.many else ""
        yield f'.BR {escape(setting.name)} " = \\fI{escape(setting.metavar)}\\fR{many}"'
        yield escape(setting.help)
        yield f"Default: {escape(setting.default_text)}."


def commands(
    group: click.Group = command_line, prefix: str = "maildir-imapd", only: Sequence[str] = ("",)
) -> Iterator[str]:
    """Every command, or *only* some, with its options."""
    for name, command in each_command(group):
        if only[0] and name not in only:
            continue
        if not only[0] and group is command_line and name in OWN_PAGES:
            yield f".SS {escape(f'{prefix} {name}')}"
            yield escape(command.get_short_help_str(limit=200))
            yield f"See\n.BR maildir\\-imapd\\-{OWN_PAGES[name]} (8)."
            continue
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
            continue
        words = [argument(p) for p in command.params if isinstance(p, click.Argument)]
        options = [p for p in command.params if isinstance(p, click.Option)]
        yield f".SS {escape(' '.join([prefix, name, *['[OPTIONS]' for _ in options[:1]], *words]))}"
        yield from prose(command.help or "")
        # An option made from a setting says the same; ``try`` has options of its own with such names.
        shared = [p for p in options if p.name in BY_NAME and (p.help or "").startswith(BY_NAME[p.name].help)]
        if len(shared) == len(SETTINGS):
            yield ".PP"
            yield "Every setting of"
            yield ".BR maildir\\-imapd.conf (5)"
            yield "is an option as well, with hyphens in the place of underscores."
        elif shared:
            yield ".PP"
            yield "Settings of"
            yield ".BR maildir\\-imapd.conf (5)"
            yield "that are options here: " + ", ".join(f"\\fB{escape(p.opts[0])}\\fR" for p in shared) + "."
        for option in options:
            if option in shared:
                continue
            spelled = ", ".join(f"\\fB{escape(word)}\\fR" for word in sorted(option.opts, key=len))
            metavar = "" if option.is_flag else f" \\fI{escape(option.metavar or option.type.name.upper())}\\fR"
            yield ".TP"
            yield f"{spelled}{metavar}"
            shown = f" Default: {option.default}." if option.show_default else ""
            yield escape((option.help or "") + shown)


def argument(param: click.Argument) -> str:
    """As click shows it, whatever its version."""
    word = param.metavar or (param.name or "").upper()
    return word if param.required else f"[{word}]"


def prose(text: str) -> Iterator[str]:
    """A help text: paragraphs, and blocks that click leaves alone (after a line with \\b)."""
    first = True
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        verbatim = block.startswith("\b\n")
        if not first:
            yield ".PP"
        first = False
        if verbatim:
            yield ".nf"
            yield escape(block.removeprefix("\b\n"))
            yield ".fi"
        else:
            yield escape(" ".join(block.split()))


def statuses() -> Iterator[str]:
    """Every exit status, and when a command ends with it."""
    for status, words in STATUSES.items():
        yield ".TP"
        yield f".B {status}"
        yield escape(words)


def completions() -> dict[str, str]:
    """Return what a shell reads to complete our commands, by the names of the files."""
    files = {"bash": "maildir-imapd.bash", "zsh": "_maildir-imapd", "fish": "maildir-imapd.fish"}
    found = {}
    for shell, name in files.items():
        kind = get_completion_class(shell)
        assert kind is not None
        made = kind(command_line, {}, "maildir-imapd", "_MAILDIR_IMAPD_COMPLETE")
        found[name] = (made.source_template % made.source_vars()).strip() + "\n"
    return found


def disk_format(module: str) -> Iterator[str]:
    """The indented table in a module's docstring: there it stands beside the code that must obey it."""
    text = importlib.import_module(module).__doc__ or ""
    table = re.search(r"(?:^    .*\n|^\n(?=    ))+", text, re.MULTILINE)
    if table is None:
        raise ValueError(f"{module} has no table")
    yield ".RS 2"
    yield ".nf"
    yield escape(inspect.cleandoc("\n" + table[0]).rstrip())
    yield ".fi"
    yield ".RE"


def fill(template: str) -> str:
    """One page."""

    def replace(match: re.Match[str]) -> str:
        if match[1] == "SETTINGS":
            return "\n".join(settings())
        if match[1] == "COMMANDS":
            return "\n".join(commands(only=(match[2] or "").split(",")))
        if match[1] == "STATUSES":
            return "\n".join(statuses())
        assert match[1] == "FORMAT", match[0]
        return "\n".join(disk_format(match[2]))

    head = '.\\" Made by scripts/man; change the .in file or the code instead.\n'
    page = _FILL.sub(replace, template).replace("@VERSION@", __version__)
    return head + re.sub(r'^(\.TH \S+ \d) ""', rf'\1 "{__released__}"', page, count=1, flags=re.MULTILINE)


def pages() -> dict[str, str]:
    """Every page by its file name."""
    return {path.stem: fill(path.read_text(encoding="utf-8")) for path in sorted(MAN.glob("*.in"))}


def main() -> int:
    """Write the pages, or compare them."""
    stale = []
    made = {MAN / name: text for name, text in pages().items()}
    for path, text in {**made, **{COMPLETION / name: text for name, text in completions().items()}}.items():
        name = path.relative_to(MAN.parent)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    for name in stale:
        print(f"{name} {'is stale: run scripts/man' if '--check' in sys.argv[1:] else 'written'}")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
