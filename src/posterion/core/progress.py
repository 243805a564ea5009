"""A progress bar on everything longer than two seconds; quiet when not on a terminal."""

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Progress", "progress"]

DELAY = 2.0
LOG_EVERY = 10.0
_logger = logging.getLogger("posterion")


class Progress:
    """What `progress` gives: where the work stands. Safe to update often; it draws seldom."""

    def __init__(self, description: str, total: float | int | None):
        self.description = description
        self.total = total
        self.completed: float | int = 0
        self.figures: dict[str, float | int] = {}
        self._started = self._logged = time.monotonic()
        self._task: Any = None

    def update(
        self,
        completed: float | int | None = None,
        *,
        advance: float | int = 0,
        description: str | None = None,
        total: float | int | None = None,
        loss: Any = None,
        ess: Any = None,
        calls: Any = None,
    ) -> None:
        """Say how far the work is.

        Args:
            completed: how much of ``total`` is done; or else
            advance: how much was done since the last call.
            description: a new description, where the stage changed.
            total: a new total, where it changed.
            loss: the current loss.
            ess: effective sample size as a fraction of the draws, ESS/N.
            calls: target evaluations so far.
        """
        self.completed = self.completed + advance if completed is None else completed
        self.description = self.description if description is None else description
        self.total = self.total if total is None else total
        figures = {"loss": loss, "ess": ess, "calls": calls}
        self.figures |= {key: value for key, value in figures.items() if value is not None}
        if self._task is not None:
            _display.refresh(self)
        self._log()

    def text(self) -> str:
        """The figures in one line, such as ``"loss 14.58  ESS/N 0.950  64,000 calls"``."""
        formats = {"loss": "loss {:.4g}", "ess": "ESS/N {:.3f}", "calls": "{:,} calls"}
        shown = {key: float(value) for key, value in self.figures.items()}
        if "calls" in shown:
            shown["calls"] = int(shown["calls"])
        return "  ".join(formats[key].format(shown[key]) for key in formats if key in shown)

    def _log(self) -> None:
        now = time.monotonic()
        if now - self._logged < LOG_EVERY or not _logger.isEnabledFor(logging.INFO):
            return
        self._logged = now
        of = f" of {self.total:g}" if self.total else ""
        done = f"{self.completed:g}{of}"
        seconds = now - self._started
        _logger.info("%s: %s  %s  %.0f s", self.description, done, self.text(), seconds)


class _Display:
    """The one live display of the process, which all bars share, so that bars may be nested."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._rich: Any = None
        self._shown: list[Progress] = []

    def show(self, bar: Progress) -> None:
        with self._lock:
            if self._rich is None:
                self._rich = _rich_progress()
                self._rich.start()
            bar._task = self._rich.add_task(bar.description, total=bar.total, figures="")
            # the time of a bar counts from its beginning, not from when it appeared
            self._rich.tasks[-1].start_time -= time.monotonic() - bar._started
            self._shown.append(bar)
            self.refresh(bar)

    def refresh(self, bar: Progress) -> None:
        with self._lock:
            if self._rich is not None and bar in self._shown:
                self._rich.update(
                    bar._task,
                    completed=bar.completed,
                    total=bar.total,
                    description=bar.description,
                    figures=bar.text(),
                )

    def hide(self, bar: Progress) -> None:
        with self._lock:
            if bar not in self._shown:
                return
            self.refresh(bar)
            self._shown.remove(bar)
            if self._shown:
                self._rich.remove_task(bar._task)
            else:
                self._rich.stop()
                self._rich = None


_display = _Display()


def _rich_progress() -> Any:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=10),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        refresh_per_second=4,
    )


@contextmanager
def progress(
    description: str,
    total: float | int | None = None,
    *,
    quiet: bool | None = None,
    delay: float | int = DELAY,
) -> Iterator[Progress]:
    """Show a bar with the figures of the work while the block runs.

    It appears on standard error when the block has lasted ``delay`` seconds. Without a terminal
    nothing appears; the logger ``posterion`` then says at level INFO, every ten seconds, how far
    the work is.

    Args:
        description: what is being done.
        total: of what ``update(completed=...)`` counts; None where it is unknown.
        quiet: show no bar even on a terminal; by default quiet without one.
        delay: seconds before the bar appears.

    >>> with progress("learning", total=2) as bar:
    ...     bar.update(1, loss=14.5758, ess=0.95, calls=64_000)
    >>> bar.text()
    'loss 14.58  ESS/N 0.950  64,000 calls'
    """
    bar = Progress(description, total)
    if quiet is None:
        quiet = not _on_terminal()
    timer = None
    if not quiet:
        timer = threading.Timer(delay, _display.show, (bar,))
        timer.daemon = True
        timer.start()
    try:
        yield bar
    finally:
        if timer is not None:
            timer.cancel()
            timer.join()
        _display.hide(bar)


def _on_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
