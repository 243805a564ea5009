"""The progress bar: late, shared, and quiet without a terminal."""

import logging
import os
import pty
import subprocess
import sys

import pytest

from posterion.core import progress as module
from posterion.core.progress import progress

WORK = """
import sys, time
from posterion.core.progress import progress
with progress("outer [a]", total=2, delay=0.05) as outer:
    for i in range(2):
        with progress("inner", total=4, delay=0.05) as bar:
            for k in range(4):
                time.sleep(0.15)
                bar.update(k + 1, loss=1.5, ess=0.95, calls=64000)
        outer.update(advance=1)
"""


def on_terminal(code):
    """What ``code`` writes to a terminal of 100 columns."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code], stderr=slave, env=environment
    ) as p:
        os.close(slave)
        written = b""
        while True:
            try:
                block = os.read(master, 4096)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            written += block
        os.close(master)
    assert p.returncode == 0, written.decode()
    return written.decode()


def test_bars_nest_on_a_terminal_and_show_the_figures():
    shown = on_terminal(WORK)
    for text in ("outer [a]", "inner", "loss 1.5", "ESS/N 0.950", "64,000 calls", "50%", "100%"):
        assert text in shown


def test_short_work_shows_nothing():
    assert on_terminal(WORK.replace("delay=0.05", "delay=60")) == ""


def test_without_a_terminal_nothing_is_written_and_rich_is_not_imported(run_python):
    done = run_python(WORK + "\nassert 'rich' not in sys.modules")
    assert done.stderr == done.stdout == ""


def test_without_a_terminal_it_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(module, "LOG_EVERY", -1.0)
    caplog.set_level(logging.INFO, "posterion")
    with progress("learning NO", total=10) as bar:
        bar.update(5, loss=14.5758, ess=0.5)
        bar.update(advance=1, calls=1000)
    assert caplog.messages[0].startswith("learning NO: 5 of 10  loss 14.58  ESS/N 0.500")
    assert caplog.messages[1].startswith("learning NO: 6 of 10") and "1,000 calls" in caplog.text


def test_an_error_passes_through_and_leaves_no_timer(monkeypatch):
    monkeypatch.setattr(module, "_on_terminal", lambda: True)
    with pytest.raises(ZeroDivisionError), progress("work", delay=60):
        raise ZeroDivisionError
    assert module._display._rich is None
