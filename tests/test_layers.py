"""Who may import whom (docs/architecture.md, Layers and Rooms): read from the sources, so that no breach can hide.

Imports for types count like all others: what a file names is what its reader must know.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "maildir_imapd"
NAME = PACKAGE.name

# Modules of the standard library that a layer must do without, by first name.
NO_IO = {"socket", "socketserver", "ssl", "threading", "subprocess", "selectors", "select", "asyncio"}
FORBIDDEN = {
    "wire": NO_IO | {"os", "time", "logging", "pathlib"},
    "message": NO_IO | {"os", "time", "logging", "pathlib"},
    "store": {"socketserver", "ssl", "subprocess", "asyncio"},
    "imap": NO_IO,
    "lmtp": NO_IO,
}
LEAVES = {"errors", "events", "strings", "mutf7", "normal", "phrases", "line_ends", "budget"}
# What others know of the store: its face, and the values that it gives and takes.
FACE = {
    "store.account",
    "store.mailbox",
    "store.names",
    "store.namespaces",
    "store.branch",
    "store.results",
    "store.upkeep",
    "store.watch",
}
IMAP_KNOWS = FACE | {
    "store.index.cache",
    "store.index.chunks",
    "store.index.snapshot",
    "store.maildir.delivery",
    "store.maildir.filename",
    "store.maildir.flags",
    "store.records.acl",
    "store.records.metadata",
    "store.records.quota",
    "store.records.special_use",
    "store.records.texts",
    "store.records.texts_filling",
    "store.standing",
    "store.threads.ahead",
    "store.threads.listeners",
    "store.virtual_sources",
}
# How folders are kept and where they lie; and what is of threads and descriptors, of which a process has one sort.
SERVER_KNOWS = FACE | {
    "store.arranging",
    "store.disk.descriptors",
    "store.disk.durable",
    "store.disk.filesystems",
    "store.disk.unused",
    "store.expiring",
    "store.folder.keeping",
    "store.index.constants",
    "store.maildir.census",
    "store.maildir.decide",
    "store.maildir.delivery",
    "store.maildir.ground",
    "store.maildir.instead",
    "store.maildir.layout",
    "store.maildir.packed",
    "store.neighbours.dotlock",
    "store.neighbours.takeover",
    "store.records.acl",
    "store.records.acl_courier",
    "store.records.acl_global",
    "store.records.hosts",
    "store.records.metadata",
    "store.records.quota_rooms",
    "store.records.quota_warned",
    "store.share_news",
    "store.records.seen",
    "store.records.shares",
    "store.records.usual",
    "store.threads.ahead",
    "store.threads.bell",
    "store.threads.locks",
    "store.threads.longlived",
    "store.threads.moves",
    "store.private",
    "store.trying",
    "store.virtual_account",
    "store.virtual_current",
    "store.virtual_sources",
}
# Commands look into spools, and say what they see.
CLI_KNOWS = FACE | {
    "store.disk.durable",
    "store.folder.release",
    "store.maildir.decide",
    "store.maildir.instead",
    "store.maildir.layout",
    "store.maildir.layouts",
    "store.neighbours.neighbour",
    "store.records.acl",
    "store.records.quota",
    "store.records.shares",
    "store.records.special_use",
    "store.records.texts_filling",
    "store.threads.locks",
}
# An engine, and what it is made of.
ENGINE = {
    "imap.columns.danger",
    "imap.engine",
    "imap.gate",
    "imap.policy",
    "imap.progress",
    "imap.reply",
    "imap.tally",
}
# What fills an index of texts, and what works ahead, in processes that serve nobody or when mail comes in.
FILLING = {
    "imap.columns.ahead",
    "imap.columns.attached",
    "imap.columns.fields",
    "imap.commands",
    "imap.search.filling",
    "store.records.texts",
    "store.records.texts_filling",
}
# What commands choose mailboxes and messages by.
CHOOSING = {"imap.naming", "imap.search.chosen"}
# Modules and whole packages below maildir_imapd that each may import; "" is the package itself, for the version.
ALLOWED = {
    "strings": set[str](),
    "mutf7": set[str](),
    "normal": set[str](),
    "line_ends": set[str](),
    "phrases": set[str](),
    "errors": {"phrases"},
    "events": {"phrases"},
    "wire": {"wire", "errors", "strings", "mutf7"},
    "message": {"message", "errors", "strings", "normal", "line_ends"},
    "store": {"store", "errors", "events", "mutf7", "normal", "phrases", "line_ends", "budget"},
    # Of the store only the locks, which know nothing of it.
    "auth": {"auth", "errors", "events", "values", "quota_values", "store.threads.locks"},
    "imap": {"imap", "wire", "message", *IMAP_KNOWS, "auth.base", "auth.mechanisms", *LEAVES, ""},
    "lmtp": {"lmtp", *FACE, "store.maildir.delivery", "errors", "events"},
    "namespace_rules": {"values", "errors"},
    "virtual_rules": {"values"},
    "location": {"store.maildir.decide", "store.maildir.layout", "store.maildir.layouts", "errors"},
    "values": {"location", ""},
    "quota_values": {"values"},
    "toml_lines": {"errors"},
    "setting": {"setting", "namespace_rules", "virtual_rules", "values", "quota_values", "phrases"},
    "config": {"setting", "errors", "toml_lines"},
    "server": {
        "server",
        *ENGINE,
        *FILLING,
        "lmtp",
        "auth",
        *SERVER_KNOWS,
        "imap.search.virtual",
        "config",
        "setting.shown",
        "mutf7",
        "namespace_rules",
        "virtual_rules",
        "values",
        "quota_values",
        "location",
        "log",
        "message.charset",
        "wire.buffer",
        *LEAVES,
        "",
    },
    "cli": {
        "cli",
        "server",
        "lmtp.answers",
        *CLI_KNOWS,
        *CHOOSING,
        "auth",
        "config",
        "setting.shown",
        "namespace_rules",
        "toml_lines",
        "values",
        "quota_values",
        "location",
        "log",
        "errors",
        "events",
        "",
    },
}
# The rooms of a layer: each imports only those that stand behind it.  "" are the files that lie in no room; a name of
# theirs stands for such a file alone.
ROOMS = {
    "imap": ["engine", "commands", "selected", "search", "news", "access", "mailboxes", "columns", ""],
    "store": ["", "folder", "records", "neighbours", "index", "maildir", "threads", "disk"],
}


@cache
def modules() -> dict[str, Path]:
    """Each file of the package, by its name below it: "imap.session"."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }


@cache
def imports(path: Path) -> frozenset[tuple[int, str]]:
    """Every module that a file imports: (line, its name in full)."""
    found: set[tuple[int, str]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            assert node.module
            for alias in node.names:
                # "from x import y" is about x.y if that is a module, and else about x.
                whole = f"{node.module}.{alias.name}"
                found.add((node.lineno, whole if whole.removeprefix(f"{NAME}.") in modules() else node.module))
    return frozenset(found)


def ours(path: Path) -> list[tuple[int, str]]:
    """What a file imports of the package, by its name below it."""
    return sorted((line, name[len(NAME) + 1 :]) for line, name in imports(path) if f"{name}.".startswith(f"{NAME}."))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def within(name: str, allowed: set[str]) -> bool:
    return any(name == entry or (entry and name.startswith(f"{entry}.")) for entry in allowed)


def test_layers() -> None:
    breaches = []
    for name, path in modules().items():
        layer = name.split(".")[0]
        if layer in ALLOWED:
            breaches += [
                f"{place(path, line)}: {other}" for line, other in ours(path) if not within(other, ALLOWED[layer])
            ]
        breaches += [
            f"{place(path, line)}: {other}"
            for line, other in imports(path)
            if other.split(".")[0] in FORBIDDEN.get(layer, set())
        ]
    # The unique name of a delivery carries the host's name; what threads share needs them.
    breaches = [breach for breach in breaches if not breach.endswith("filename.py: socket")]
    assert not breaches, "\n".join(breaches)


def room(layer: str, name: str) -> str:
    """The room that a module of *layer* is in."""
    parts = name.split(".")[1:]
    return parts[0] if len(parts) > 1 or parts[0] in ROOMS[layer] else ""


@pytest.mark.parametrize("layer", ROOMS)
def test_rooms(layer: str) -> None:
    """A room imports only rooms that stand behind it."""
    order = ROOMS[layer]
    breaches = []
    for name, path in modules().items():
        if name.split(".")[0] != layer:
            continue
        for line, other in ours(path):
            if other.split(".")[0] == layer and other in modules():
                here, there = room(layer, name), room(layer, other)
                assert {here, there} <= set(order), f"no such room: {here}, {there}"
                if order.index(there) < order.index(here):
                    breaches.append(
                        f"{place(path, line)}: {other} ({there or 'no room'} stands above {here or 'no room'})"
                    )
    assert not breaches, "\n".join(breaches)


def test_no_two_files_import_each_other() -> None:
    """Nor in a circle of any length."""
    graph = {name: {other for _, other in ours(path) if other in modules()} for name, path in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_only_durable_syncs() -> None:
    for name, path in modules().items():
        if name.startswith("store.") and name != "store.disk.durable":
            text = path.read_text()
            assert "os.fsync" not in text, path
            assert "os.fdatasync" not in text, path
