"""The command line: ``run``, ``show``, ``sample``, ``export``, ``emulate``, ``predict``, ..."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

from posterion.cli import emulating, results, running  # noqa: F401  (they add their commands)
from posterion.cli.common import app

__all__ = ["app", "main", "program"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; leaves by SystemExit: 0 done, 1 failed, 2 misused, 130 interrupted.

    A batch system's SIGTERM ends it as Ctrl-C does: checkpoints are written, halves removed.

    Args:
        arguments: without the program's name; by default those of the process.
    """
    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if ours else None
    try:
        app(args=sys.argv[1:] if arguments is None else list(arguments), prog_name="posterion")
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)


def program() -> None:
    """The program ``posterion``: `main`, and an end that waits for no thread.

    A computation that was interrupted may still run inside XLA; an interpreter that takes itself
    apart meanwhile ends in a segmentation fault, after all has been said and kept.
    """
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    status = code if isinstance(code, int) else 0 if code is None else 1
    if status:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(status)
