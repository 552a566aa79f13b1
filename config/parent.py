"""A process that `tracker up` started ends with it, even when `up` was killed and could not say so."""

from __future__ import annotations

import os
import signal
import threading
import time

VARIABLE = "TRACKER_PARENT_PIPE"  # the end to read from; `up` alone holds the other, and writes nothing
GRACE_SECONDS = 8.0  # to finish what it is doing; a job that takes longer is taken over by the next worker


def end_with_parent() -> None:
    """Have this process end as soon as the `tracker up` that started it is gone: by SIGTERM, at last SIGKILL."""
    number = os.environ.pop(VARIABLE, "")  # not for processes of our own: the pipe isn't handed on to them
    if number.isdigit():
        threading.Thread(target=_watch, args=(int(number),), name="parent", daemon=True).start()


def _watch(pipe: int) -> None:
    try:
        os.set_inheritable(pipe, False)
        os.read(pipe, 1)
    except OSError:
        return  # no such pipe: somebody else's variable
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # `up` made it the leader of a group of its own
