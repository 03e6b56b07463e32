"""The rooms of the store stand in an order, and no two files know each other (docs/architecture.md)."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

STORE = Path(__file__).parents[2] / "maildir_imapd" / "store"
# A room imports only rooms that stand after it; "" is the face, which is all that others may import but for values.
ORDER = ("", "folder", "records", "neighbours", "index", "maildir", "threads", "disk")


def modules() -> dict[str, Path]:
    """Every file of the store by its name below ``maildir_imapd.store``."""
    return {
        ".".join(path.relative_to(STORE).with_suffix("").parts): path
        for path in STORE.rglob("*.py")
        if path.name != "__init__.py"
    }


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The files of the store that a file imports, for types or in earnest."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("maildir_imapd.store"):
            module = node.module.removeprefix("maildir_imapd.store").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                found.add(inner if inner in known else module)
    return found & known.keys()


def room(module: str) -> int:
    return ORDER.index(module.rpartition(".")[0])


def test_a_room_imports_only_rooms_behind_it() -> None:
    known = modules()
    breaches = [
        f"{name} -> {other}"
        for name, path in sorted(known.items())
        for other in imports(path, known)
        if room(other) < room(name)
    ]
    assert not breaches, "\n".join(breaches)


def test_no_two_files_know_each_other() -> None:
    known = modules()
    # Raises CycleError with the cycle in it.
    TopologicalSorter({name: imports(path, known) for name, path in known.items()}).prepare()
