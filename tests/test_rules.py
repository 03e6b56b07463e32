"""docs/rules.md: every rule names code and tests that are there, and every rule that a comment cites is a rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = (ROOT / "docs" / "rules.md").read_text()
NUMBERS = re.findall(r"^- \*\*([A-Z]\d+)\. ", RULES, re.MULTILINE)
SOURCES = [path for top in ("maildir_imapd", "tests") for path in (ROOT / top).rglob("*.py")]


def test_no_number_twice() -> None:
    assert len(NUMBERS) == len(set(NUMBERS))
    assert len(NUMBERS) > 40


def test_every_rule_has_a_test() -> None:
    """A name behind the rule, which is in bold; or a script of the protocol, or what stands in tests/."""
    parts = re.split(r"^- \*\*(?=[A-Z]\d+\. )|\n\n", RULES, flags=re.MULTILINE)
    rules = [part for part in parts if re.match(r"[A-Z]\d+\. ", part)]
    assert len(rules) == len(NUMBERS)
    without = [rule.split(".")[0] for rule in rules if not re.search(r"test_\w|\.imap\b", rule.partition("**")[2])]
    assert not without


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(re.findall(r"\btest_\w+", RULES))))
def test_the_test_is_there(name: str) -> None:
    if any(path.stem == name for path in SOURCES):
        return
    assert any(f"def {name}" in path.read_text() for path in SOURCES), name


@pytest.mark.parametrize(
    "name", sorted(set(re.findall(r"\b(?:store|server|imap|lmtp|message|wire|auth|cli)/[\w/]+\.py", RULES)))
)
def test_the_place_is_there(name: str) -> None:
    assert any((ROOT / top / name).is_file() for top in ("maildir_imapd", "tests"))


def test_what_a_comment_cites_is_a_rule() -> None:
    for path in SOURCES:
        for cited in re.findall(r"docs/rules\.md, ([A-Z]\d+(?: to [A-Z]\d+)?)", path.read_text()):
            for number in cited.split(" to "):
                assert number in NUMBERS, f"{path.name}: {cited}"
