"""Another machine on the same spool, as far as a program can see: another boot, another name. For tests.

A mount namespace in which /proc/sys/kernel/random/boot_id and /etc/machine-id are other files, and a UTS namespace
with another name; what runs there shares the file system, as machines do that mount it from a server.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from functools import cache
from pathlib import Path

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_MACHINE_ID = "/etc/machine-id"
_ENTER = f"""
set -e
mount --bind "$1" {_BOOT_ID}
if [ -e {_MACHINE_ID} ]; then mount --bind "$2" {_MACHINE_ID}; fi
hostname "$3"
shift 3
exec "$@"
"""


def another(base: Path, number: int) -> list[str]:
    """The words before a command that has it run on another machine; the same number is the same machine."""
    boot, machine = base / f"boot-id-{number}", base / f"machine-id-{number}"
    if not boot.exists():
        boot.write_text(f"{uuid.uuid4()}\n")
        machine.write_text(f"{uuid.uuid4().hex}\n")
    return ["unshare", "-m", "-u", "sh", "-c", _ENTER, "sh", str(boot), str(machine), f"host{number}"]


@cache
def why_not() -> str:
    """Why there cannot be another machine here; "" if there can."""
    if shutil.which("unshare") is None:
        return "there is no unshare"
    here = Path(_BOOT_ID)
    if not here.exists():
        return f"there is no {_BOOT_ID}"
    base = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    try:
        done = subprocess.run([*another(base, 1), "cat", _BOOT_ID], capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(base)
    if done.returncode:
        return f"no namespaces can be made: {done.stderr.strip()}"
    return "" if done.stdout != here.read_text() else "the boot is the same"
