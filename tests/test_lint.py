"""What no file of the package may do, read from the source, for no run of a test shows it (docs/rules.md)."""

from __future__ import annotations

import ast
import gc
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "maildir_imapd"
DESCRIPTORS = "store/disk/descriptors.py"
RESOLVE = "store/disk/resolve.py"
LOCKS = "store/threads/locks.py"
SHARED = "server/shared.py"
# ctypes.util looks for a library by running compilers.
# In a process that has been forked for one question about a password.
CHECKING = "auth/command.py"
# In a job that serves nobody and is the owner of the mail.
COMMANDS = "server/programs.py"
PROGRAMS = ("subprocess", "multiprocessing", "pty", "ctypes.util")
RUNNING = ("exec", "spawn", "posix_spawn", "system", "popen")
LEVELS = {"debug", "info", "warning", "error", "exception"}
# The one way to log, and what sets up how lines look and where they go.
LOGGERS = ("events.py", "log.py", "server/stacks.py")


@cache
def all_nodes() -> dict[type[ast.AST], list[tuple[str, ast.AST]]]:
    """Each node of the package with its file, by its kind.

    Those are half a million, none of which is garbage: a collector that looks at all of them, again and again while
    they are made, takes most of the time.
    """
    found: dict[type[ast.AST], list[tuple[str, ast.AST]]] = defaultdict(list)
    gc.disable()
    try:
        for path in sorted(PACKAGE.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                found[type(node)].append((path.relative_to(PACKAGE).as_posix(), node))
    finally:
        gc.enable()
    return found


def nodes(kind: type[ast.AST]) -> Iterator[tuple[str, ast.AST]]:
    """Each node of that kind, with its file."""
    return iter(all_nodes()[kind])


def uses(module: str, name: str) -> list[tuple[str, int]]:
    """Where ``module.name`` is named, or imported from the module."""
    found = []
    for file, node in nodes(ast.Attribute):
        assert isinstance(node, ast.Attribute)
        if node.attr == name and isinstance(node.value, ast.Name) and node.value.id == module:
            found.append((file, node.lineno))
    for file, node in nodes(ast.ImportFrom):
        assert isinstance(node, ast.ImportFrom)
        if node.module == module and any(alias.name == name for alias in node.names):
            found.append((file, node.lineno))
    return found


def listed(found: list[tuple[str, int]]) -> str:
    return ", ".join(f"{file}:{line}" for file, line in found)


def test_no_finaliser() -> None:
    """While one runs, weak references still hand the dying object out (rule D4)."""
    found = []
    for file, node in nodes(ast.FunctionDef):
        assert isinstance(node, ast.FunctionDef)
        if node.name == "__del__":
            found.append((file, node.lineno))
    assert not found, listed(found)


def test_no_file_is_mapped() -> None:
    """A file that is cut while it is mapped ends the process with SIGBUS; memory without a file may be mapped."""
    found = []
    for file, node in nodes(ast.Call):
        assert isinstance(node, ast.Call)
        function = node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name != "mmap":
            continue
        first = node.args[0] if node.args else None
        if not (first is not None and ast.unparse(first) == "-1"):
            found.append((file, node.lineno))
    assert not found, listed(found)


def test_what_processes_share_is_made_in_one_place() -> None:
    """The one place makes cells that one store of the machine writes; a pack into them is none (rule P4)."""
    found = [(file, line) for file, line in uses("mmap", "mmap") if file != SHARED]
    # It writes zeros before the value, and others read in between.
    found += uses("struct", "pack_into")
    assert not found, listed(found)


@pytest.mark.parametrize("name", ["flock", "lockf"])
def test_files_are_locked_in_one_place(name: str) -> None:
    """The one place tells the checker of locks (rule T2)."""
    found = [(file, line) for file, line in uses("fcntl", name) if file != LOCKS]
    assert not found, listed(found)


def test_the_store_opens_in_one_place() -> None:
    """The one place keeps the process within its budget of descriptors (rule D5)."""
    found = [
        (file, line)
        for file, line in uses("os", "open")
        if file.startswith("store/") and file not in (DESCRIPTORS, RESOLVE)
    ]
    assert not found, listed(found)


def test_the_store_reads_small_files_in_one_place() -> None:
    """The one place takes regular files only, and no more of them than a bound (rule S6)."""
    found = []
    for file, node in nodes(ast.Call):
        assert isinstance(node, ast.Call)
        # boot.py reads files of the system's; the other two have an open of their own.
        ours = file.startswith("store/") and file not in ("store/index/boot.py", DESCRIPTORS, RESOLVE)
        if ours and isinstance(node.func, ast.Name) and node.func.id == "open":
            found.append((file, node.lineno))
    assert not found, listed(found)


def test_who_serves_mail_runs_no_program() -> None:
    """A program of root's that a user's name or file may reach is one hole more (rule S18)."""
    found = []
    for file, node in nodes(ast.Import):
        assert isinstance(node, ast.Import)
        # ssh, which an administrator's command asks another host by; it serves nobody.
        asked = file == "cli/check_spool.py"
        found += [(file, node.lineno) for alias in node.names if alias.name in PROGRAMS and not asked]
    for file, node in nodes(ast.ImportFrom):
        assert isinstance(node, ast.ImportFrom)
        if node.module in PROGRAMS:
            found.append((file, node.lineno))
    for file, node in nodes(ast.Attribute):
        assert isinstance(node, ast.Attribute)
        runs = isinstance(node.value, ast.Name) and node.value.id == "os" and node.attr.startswith(RUNNING)
        if runs and file not in (CHECKING, COMMANDS):
            found.append((file, node.lineno))
    assert not found, listed(found)


def test_events_are_logged_in_one_way() -> None:
    """The words of an event never change, and its facts are fields (events.py; rule S8)."""
    makers = [(file, line) for file, line in uses("logging", "getLogger") if file not in LOGGERS]
    assert not makers, listed(makers)
    found = []
    for file, node in nodes(ast.Call):
        assert isinstance(node, ast.Call)
        function = node.func
        if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
            continue
        if function.value.id != "log" or function.attr not in LEVELS:
            continue
        event = node.args[0]
        # A text that is said to a client too is a name or an attribute; ``Log`` parts it from its fields.
        words = isinstance(event, ast.Constant) and "%" not in event.value and "=" not in event.value
        if len(node.args) > 1 or not (words or isinstance(event, ast.Name | ast.Attribute)):
            found.append((file, node.lineno))
    assert not found, listed(found)


def test_the_store_makes_locks_with_a_rank() -> None:
    """A lock without a rank is in no order; an RLock is one that a finaliser may take again (rule T1)."""
    found = [
        (file, line)
        for file, line in uses("threading", "Lock")
        if file.startswith("store/") and file not in (DESCRIPTORS, LOCKS)
    ]
    assert not found, listed(found)


@pytest.mark.parametrize("name", ["normalize", "is_normalized"])
def test_text_is_normalized_in_one_place(name: str) -> None:
    """The one place bounds runs of combining marks, whose sorting is quadratic and holds the lock (rule H1)."""
    found = [(file, line) for file, line in uses("unicodedata", name) if file != "normal.py"]
    assert not found, listed(found)


def is_command(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any(ast.unparse(decorator).startswith("command(") for decorator in decorators)


def test_a_docstring_begins_with_what_it_does_or_is() -> None:
    """Subject, verb, object: a reader need not turn the sentence round."""
    found = []
    for file, node in chain.from_iterable(all_nodes().values()):
        # The docstrings of errors are said to clients.
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and file != "errors.py":
            said = ast.get_docstring(node) or ""
            # A command says what it does, then the section.
            if said.startswith(("Who ", "What ")) or (is_command(node) and said.startswith("RFC ")):
                found.append((file, getattr(node, "lineno", 1)))
    assert not found, listed(found)


def test_nobody_but_the_view_writes_its_fields() -> None:
    """Whoever keeps something in a view asks it to: what changes where stands in one file (imap/view.py)."""
    found = []
    for file, node in chain.from_iterable(all_nodes().values()):
        if not file.startswith("imap/") or file == "imap/view.py":
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and isinstance(target, ast.Attribute):
                owner = ast.unparse(target.value)
                if owner in ("view", "self.view", "session.view", "session.selected"):
                    found.append((file, node.lineno))
    assert not found, listed(found)


def test_no_two_classes_have_one_name() -> None:
    """A stranger who looks for a name finds one thing; commands of the wire are called as the RFC has them."""
    seen: dict[str, str] = {}
    found = []
    for file, node in nodes(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if node.name.startswith("_"):
            continue
        if node.name in seen and seen[node.name] != file:
            found.append(f"{node.name}: {seen[node.name]}, {file}")
        seen[node.name] = file
    assert not found, found


# What may be larger, and why. A limit that somebody wants to pass is a question: is there a second reason to change?
FILE_LINES, CLASS_METHODS, FUNCTION_LINES = 600, 30, 60
OUTGROWN = {
    "wire/cursor.py Cursor": "one method for each thing that the grammar has, and every parser is made of them",
    "wire/parse_search.py _program": "one case for each search key, in the order of the grammar",
    "cli/try_.py try_": "what a trial run does, step by step",
}


def sizes() -> Iterator[tuple[str, int, int]]:
    """Each file, class and function of the package: what it is, how large, and how large it may be."""
    for path in sorted(PACKAGE.rglob("*.py")):
        file, text = path.relative_to(PACKAGE).as_posix(), path.read_text()
        yield file, text.count("\n"), FILE_LINES
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
                yield f"{file} {node.name}", len(methods), CLASS_METHODS
            elif isinstance(node, ast.FunctionDef):
                assert node.end_lineno is not None
                yield f"{file} {node.name}", node.end_lineno - node.lineno + 1, FUNCTION_LINES


def test_no_file_class_or_function_has_outgrown_its_reason() -> None:
    """Split by the second reason to change, never by the count of lines; else say here why it stays whole."""
    outgrown = {what: size for what, size, limit in sizes() if size > limit}
    assert set(outgrown) - set(OUTGROWN) == set(), outgrown
    assert set(OUTGROWN) - set(outgrown) == set(), "these are small enough now: take them from the list"
