"""A child that is not root: for tests of what may not be read or written."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def as_nobody(work: Callable[[], None]) -> None:
    """Run *work* in a child without the rights of root."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
