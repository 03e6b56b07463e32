"""The units that are given along, as systemd's own tools see them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from running import program

pytestmark = pytest.mark.interop

UNITS = Path(__file__).parent.parent.parent / "contrib" / "systemd"


@pytest.mark.parametrize("unit", sorted(UNITS.iterdir()), ids=lambda path: path.name)
def test_a_unit_has_no_mistake(unit: Path, tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    for each in UNITS.iterdir():
        # The program is where the tests run it from; its pages are not where man looks.
        text = each.read_text().replace("/usr/bin/maildir-imapd", str(Path(sys.executable).parent / "maildir-imapd"))
        lines = [line for line in text.splitlines() if not line.startswith("Documentation=")]
        (tmp_path / each.name).write_text("\n".join(lines) + "\n")
    mode = "--user" if unit.name.startswith("user-") else "--system"
    done = subprocess.run(
        [analyze, "verify", mode, "--recursive-errors=no", tmp_path / unit.name],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:", "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    about = [line for line in (done.stdout + done.stderr).splitlines() if str(tmp_path) in line or unit.name in line]
    assert about == []


def test_the_unit_leaves_little_open() -> None:
    done = subprocess.run(
        [
            program("systemd-analyze"),
            "security",
            "--offline=yes",
            "--no-pager",
            "--threshold=29",
            UNITS / "maildir-imapd.service",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
