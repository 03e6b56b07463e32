"""Values of settings for people: as they are written in the file, and without what nobody is to read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

MASK: Final = "***"
# Settings name the files that hold secrets; what may have one all the same is a URL, a line for a database, a command.
_A_SECRET: Final = re.compile(r"(?i)(pass|passwd|password|secret|token)\Z").match
_IN_URL: Final = re.compile(r"(?<=://)([^/@\s:]*):[^/@\s]*@")
_IN_WORDS: Final = re.compile(r"(?i)\b(pass|passwd|password|secret|token)(\s*=\s*)('[^']*'|\S+)")


def shown(value: Any) -> str:
    """Write a value as TOML has it, secrets masked; "" for none."""
    if value is None or value == ():
        return ""
    return written(value)


def written(value: Any) -> str:
    """Write a value as TOML has it; what is a secret by its form is masked."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, tuple) and len(value) == 2 and _A_SECRET(str(value[0])):
        value = (value[0], MASK)
    if isinstance(value, tuple | list):
        return "[" + ", ".join(written(each) for each in value) + "]"
    if isinstance(value, Mapping):
        return "[" + ", ".join(written(f"{key}={each}") for key, each in value.items()) + "]"
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    text = _IN_WORDS.sub(rf"\1\2{MASK}", _IN_URL.sub(rf"\1:{MASK}@", text))
    return json.dumps(text, ensure_ascii=False)
