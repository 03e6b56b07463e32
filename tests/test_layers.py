"""Who may import whom (docs/architecture.md, Layers): read from the source, so that no breach can hide."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "maildir_imapd"

# Modules of the standard library that a layer must do without, by first name.
NO_IO = {"socket", "socketserver", "ssl", "threading", "subprocess", "selectors", "select", "asyncio"}
FORBIDDEN = {
    "wire": NO_IO | {"os", "time", "logging", "pathlib"},
    "message": NO_IO | {"os", "time", "logging", "pathlib"},
    # filename needs the host's name for unique names; lock and watch need threads.
    "store": {"socketserver", "ssl", "subprocess", "asyncio"},
    "imap": NO_IO,
}
ALLOWED = {
    "errors": {"phrases"},
    "wire": {"wire", "errors", "strings", "mutf7"},
    "message": {"message", "errors", "strings", "normal"},
    "store": {"store", "errors", "mutf7", "phrases"},
    # Of the store only the locks, which know nothing of it.
    "auth": {"auth", "errors", "values", "store.threads.locks"},
    "imap": {
        "imap",
        "wire",
        "message",
        "store",
        "auth.base",
        "auth.mechanisms",
        "errors",
        "strings",
        "mutf7",
        "normal",
        "phrases",
        "",
    },
    "location": {"store.maildir.layout", "store.maildir.layouts", "errors"},
    "values": {"location", ""},
    "config": {"values", "errors", "phrases", ""},
    "server": {"server", "imap", "auth", "store", "config", "values", "location", "log", "errors", "wire.buffer", ""},
    # The two commands that serve (serve, try) and the tunnel start a server and need nothing of the protocol
    # but what a session is made of.
    "cli": {
        "cli",
        "server",
        "store",
        "auth",
        "config",
        "location",
        "log",
        "errors",
        "",
    },
}
LEAVES = {"errors", "strings", "mutf7", "normal", "phrases"}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def fits(name: str, allowed: set[str]) -> bool:
    return any(name == entry or (entry and name.startswith(entry + ".")) for entry in allowed)


def test_layers() -> None:
    breaches = []
    for path in sorted(PACKAGE.rglob("*.py")):
        layer = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else path.stem
        for name in imports(path):
            first, _, rest = name.partition(".")
            if first == "maildir_imapd":
                if layer in ALLOWED:
                    # "from maildir_imapd.x import y" names x and x.y; a class is not a module.
                    top = rest.split(".")[0]
                    if not (
                        fits(rest, ALLOWED[layer])
                        or rest in ("", "__version__")
                        or f"{rest}." in "".join(f"{entry}." for entry in ALLOWED[layer])
                    ) and not fits(top, ALLOWED[layer]):
                        breaches.append(f"{path}: {name}")
                elif layer in LEAVES and rest:
                    breaches.append(f"{path}: {name}")
            elif first in FORBIDDEN.get(layer, set()):
                breaches.append(f"{path}: {name}")
    # The unique name of a delivery carries the host's name.
    breaches = [breach for breach in breaches if not breach.endswith("store/maildir/filename.py: socket")]
    assert not breaches, "\n".join(breaches)


def test_only_durable_syncs() -> None:
    for path in (PACKAGE / "store").rglob("*.py"):
        if path.name != "durable.py":
            text = path.read_text()
            assert "os.fsync" not in text, path
            assert "os.fdatasync" not in text, path
