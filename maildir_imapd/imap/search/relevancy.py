"""RELEVANCY: how well messages meet the keys that FUZZY stands before (RFC 6203 4, 6)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from maildir_imapd.errors import BadCombination
from maildir_imapd.wire import commands as ast
from maildir_imapd.wire import search_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


RELEVANCY = b"RELEVANCY"

# Which of some positions match a key.
Run = Callable[[search_keys.SearchKey, list[int]], list[int]]


def demand_fuzzy(cmd: ast.Search | ast.Sort) -> None:
    """Raise BadCombination where RELEVANCY is asked for and FUZZY is not given, which RFC 6203 forbids."""
    asked = cmd.returning is not None and RELEVANCY in cmd.returning.names
    if isinstance(cmd, ast.Sort):
        asked = asked or any(name == RELEVANCY for name, _ in cmd.criteria)
    if asked and not any(isinstance(part, search_keys.KeyFuzzy) for part in search_keys.parts(cmd.key)):
        raise BadCombination(why="RELEVANCY needs FUZZY")


def scores(run: Run, key: search_keys.SearchKey, found: Sequence[int]) -> list[int]:
    """The score of each position in *found*, 1 to 100: the share of the keys behind FUZZY that the message meets.

    All keys are matched exactly, so that it is only with OR that some are not met.
    """
    among = sorted(found)
    met = dict.fromkeys(among, 0)
    keys = list(_fuzzy(key))
    for each in keys:
        for position in run(each, among):
            met[position] += 1
    return [max(1, 100 * met[position] // len(keys)) if keys else 100 for position in found]


def _fuzzy(key: search_keys.SearchKey, *, within: bool = False) -> Iterator[search_keys.SearchKey]:
    match key:
        case search_keys.KeyFuzzy():
            yield from _fuzzy(key.key, within=True)
        case search_keys.KeyAnd() | search_keys.KeyOr():
            for part in key.keys:
                yield from _fuzzy(part, within=within)
        case _:
            # NOT FUZZY says what shall not be found, which is no merit of what is.
            if within:
                yield key
