"""Queries with variables: each is a parameter, and never text."""

from __future__ import annotations

import pytest

from maildir_imapd.auth import sql


def test_variables_become_parameters() -> None:
    query = sql.parse("SELECT a FROM b WHERE c = '%Lu' AND d LIKE '100%%' AND e IN (%n, '%d') AND f = %u")
    assert query.with_marks("?") == "SELECT a FROM b WHERE c = ? AND d LIKE '100%' AND e IN (?, ?) AND f = ?"
    assert query.values("Ann@Example.org") == ["ann@example.org", "Ann", "Example.org", "Ann@Example.org"]
    assert query.with_marks("%s", lambda piece: piece.replace("%", "%%")).count("%%") == 1
    assert sql.parse("SELECT 1").values("ann") == []
    assert sql.parse("%n%d").values("ann") == ["ann", ""]


@pytest.mark.parametrize("written", ["%h", "%", "LIKE '%x'", "%L", "%w"])
def test_other_variables_are_told(written: str) -> None:
    with pytest.raises(ValueError, match="variables"):
        sql.parse(written)


def test_values_become_texts() -> None:
    assert sql.texts(["Home", "uid", "x", "b"], ["/h", 5, None, b"text"]) == {
        "home": "/h",
        "uid": "5",
        "x": None,
        "b": "text",
    }
    with pytest.raises(ValueError, match="decode"):
        sql.texts(["home"], [b"\xff"])
