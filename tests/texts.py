"""Every text for people that the server can send, found in its sources."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import maildir_imapd
from maildir_imapd import errors
from maildir_imapd.imap.engine import TOO_LONG
from maildir_imapd.imap.languages import PREFIXES
from maildir_imapd.phrases import TEXTS

PACKAGE = Path(maildir_imapd.__file__).parent
# Of these no client ever sees a text.
ASIDE = {"cli", "buffer.py", "config.py", "location.py", "log.py", "supervisor.py", "spools.py", "__main__.py"}
# Calls whose first text is said to the client, beside the exceptions.
SPEAKERS = {"Done", "Phrase", "say", "_say", "ask"}
# Where a parser says what it expected: any text that is an argument there.
PARSERS = {"at", "self", "cursor"}


def answers() -> dict[str, type[errors.ImapdError]]:
    """Every exception that becomes an answer, by name."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "maildir_imapd."):
        if "__main__" not in module.name:
            importlib.import_module(module.name)
    found: dict[str, type[errors.ImapdError]] = {}
    kinds = [errors.ImapdError]
    while kinds:
        kind = kinds.pop()
        found[kind.__name__] = kind
        kinds += (
            below
            for below in kind.__subclasses__()
            # What commands say is for whoever runs them.
            if below is not errors.ConfigError and not below.__module__.startswith("maildir_imapd.cli")
        )
    return found


FIELD = re.compile(r"\{[a-z]+\}")


class Unclear(Exception):
    """An argument that is a text, and no text stands in the source."""


def literals(node: ast.expr) -> Iterator[str]:
    """The texts that an expression can be; raises Unclear."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literals(node.body)
        yield from literals(node.orelse)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Phrase":
        pass  # it is found by itself
    else:
        raise Unclear(ast.unparse(node))


@cache
def spoken() -> tuple[frozenset[str], frozenset[str]]:
    """All texts; and the expressions, with their file, of which the source does not tell what text they are."""
    kinds = answers()
    texts = {(kind.__doc__ or "").split("\n", 1)[0] for kind in kinds.values()} | {*TOO_LONG.values()}
    unclear: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if ASIDE & set(place.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.arguments) and place.parts[0] == "wire":
                texts.update(default.value for default in node.defaults if is_text(default))
            if not isinstance(node, ast.Call):
                continue
            for argument in said(node, kinds, place):
                try:
                    texts.update(literals(argument))
                except Unclear as error:
                    unclear.add(f"{place}: {error}")
    # Where there are fields or signs of the protocol only, there is nothing to translate.
    worded = (text for text in texts if any(map(str.islower, FIELD.sub("", text))))
    return frozenset((*PREFIXES, *worded)), frozenset(unclear)


def said(node: ast.Call, kinds: dict[str, type[errors.ImapdError]], place: Path) -> Iterator[ast.expr]:
    """The arguments of a call that are texts for people."""
    func = node.func
    name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
    if name in SPEAKERS or (name in kinds and name != "BadUrl"):
        texts = node.args[2:3] if name in ("say", "_say") else node.args[1:2] if name == "ask" else node.args[:1]
        yield from texts
    elif place == Path("mutf7.py") and name == "ValueError":
        yield node.args[0]
    elif place.parts[0] == "wire" and isinstance(func, ast.Attribute) and ast.unparse(func.value) in PARSERS:
        yield from (argument for argument in node.args if is_text(argument))
    for keyword in node.keywords:
        if keyword.arg in TEXTS and name in kinds:
            yield keyword.value


def is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
