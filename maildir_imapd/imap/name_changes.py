"""Changes of names as unasked LIST responses (RFC 5465 5.4), in an order that a client can follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# What identifies a folder, whatever its name.
Key = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NameChange:
    """One LIST response about *name*: it is there; with *old*, it was called so before; or it is *gone*.

    A name that is gone may come again in a later one: then it is another mailbox.
    """

    name: str
    old: str | None = None
    gone: bool = False


def follow(change: NameChange, known: dict[str, T], delimiter: str) -> None:
    """Do to what is *known* by name what a client does that hears *change*: children go along with their parent."""
    if change.old is not None:
        within = change.old + delimiter
        moved = {name: known.pop(name) for name in [*known] if name == change.old or name.startswith(within)}
        known.pop(change.name, None)
        known.update({change.name + name[len(change.old) :]: value for name, value in moved.items()})
    elif change.gone:
        known.pop(change.name, None)


def steps(
    before: Mapping[str, Key], after: Mapping[str, Key], wanted: Callable[[str], bool], delimiter: str
) -> list[NameChange]:
    """Lead a client from the mailboxes *before* to those *after*, as far as it wants to hear of their names."""
    told: list[NameChange] = []
    believed = dict(before)

    def tell(change: NameChange) -> None:
        told.append(change)
        follow(change, believed, delimiter)

    names = {key: name for name, key in after.items()}
    renamed: set[Key] = set()
    while True:
        pending = {
            name: names[key]
            for name, key in believed.items()
            if names.get(key, name) != name and key not in renamed and (wanted(name) or wanted(names[key]))
        }
        if not pending:
            break
        # A name is given anew only once it is free; of several that wait for one another, one is given up.
        free = [name for name, new in pending.items() if new not in pending]
        old = min(free or pending, key=lambda name: (name.count(delimiter), name))
        new = pending[old]
        if new in believed:
            tell(NameChange(new, gone=True))
        renamed.add(believed[old])
        tell(NameChange(new, old))
    for name in [name for name, key in believed.items() if after.get(name) != key and wanted(name)]:
        tell(NameChange(name, gone=True))
    told += [NameChange(name) for name in after if name not in believed and wanted(name)]
    return told
