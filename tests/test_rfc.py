"""The RFCs that the code names stand in docs/rfc.md, and what is announced is whole there."""

from __future__ import annotations

import re
from pathlib import Path

from memory import MemoryWires

HOME = Path(__file__).parent.parent
DOCUMENT = (HOME / "docs" / "rfc.md").read_text()

# About mail itself, or a rule that stands behind another: nothing that a client could ask for.
BACKGROUND = {
    "822", "2045", "2046", "2047", "2049", "2180", "2183", "2231", "2557", "2595", "2683", "2822", "3156", "4422",
    "4466", "4616", "5051", "5198", "5322", "6532", "3282", "2110", "1864", "3629", "6409", "2088", "3462", "5257",
    "4505", "4551", "2195", "4013", "5234", "2978", "1896", "5545",
}  # fmt: skip


def test_every_rfc_that_the_code_names_is_accounted_for() -> None:
    named: dict[str, str] = {}
    for path in (HOME / "maildir_imapd").rglob("*.py"):
        for number in re.findall(r"RFC ?(\d{3,5})", path.read_text()):
            named.setdefault(number, str(path))
    known = set(re.findall(r"\b(\d{4,5})\b", DOCUMENT)) | BACKGROUND
    missing = {number: path for number, path in named.items() if number not in known}
    assert not missing


def test_what_is_announced_says_yes(tmp_path: Path) -> None:
    rows = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    announced = MemoryWires(tmp_path / "Maildir").connect(login=True).command(b"a CAPABILITY")[0].decode().split()[2:]
    assert len(announced) > 50
    for name in announced:
        name = name.partition("APPENDLIMIT=")[1].rstrip("=") or name
        if name == "IMAP4rev1":
            continue
        found = [row for row in rows if re.search(rf"(?<![A-Z-]){re.escape(name)}(?![A-Z=-])", row.split("|")[2])]
        assert found, f"{name} is announced and not in docs/rfc.md"
        assert all(row.split("|")[3].strip() == "yes" for row in found), name
