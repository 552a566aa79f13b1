"""A process that `tracker up` started ends with it, even when `up` was killed and could not say so."""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "TRACKER_PARENT_PIPE"  # the end to read from; `up` alone holds the other, and writes nothing


def end_with_parent() -> None:
    """Have this process told to end (SIGTERM) as soon as the `tracker up` that started it is gone."""
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
