"""How a run ends when it is interrupted."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from types import FrameType
from typing import Any, NoReturn

import click

from skinbit.runtime.failures import RESUME

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption(click.ClickException):
    """The end of an interrupted run: one line on standard error, and the exit code of the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Interrupted by {signal.Signals(number).name}. {RESUME}")
        self.exit_code = 128 + number  # type: ignore[misc]  # click declares it for the class and reads the instance's

    def show(self, file: Any = None) -> None:
        """Print the line without calling it an error."""
        click.echo(self.format_message(), file=file or sys.stderr)


_asked = threading.Event()


def is_interrupted() -> bool:
    """Whether the run was asked to end, for threads, which receive no signals."""
    return _asked.is_set()


@contextmanager
def stoppable() -> Iterator[None]:
    """End a run cleanly on Ctrl-C or SIGTERM, which batch systems and containers send.

    Worker processes end at once. Threads cannot be ended from outside: their work is awaited, unless the signal comes a
    second time. Nothing happens outside of the main thread, which alone receives signals.

    Raises:
        Interruption: In place of a ``KeyboardInterrupt``.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    run = os.getpid()
    _asked.clear()

    def stop(number: int, _: FrameType | None) -> NoReturn:
        if os.getpid() != run or _asked.is_set():  # forked workers inherit this function
            os._exit(128 + number)  # every save is atomic; the next run removes unfinished files
        _asked.set()
        for child in active_children():
            if not child.name.startswith("Dask"):  # would be replaced; they end with the cluster
                child.terminate()
        raise KeyboardInterrupt(number)  # Kedro and libraries let it through

    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup has some ignored
    before = {number: signal.signal(number, stop) or signal.SIG_DFL for number in heeded}
    try:
        yield
    except KeyboardInterrupt as asked:
        raise Interruption(*(asked.args or [signal.SIGINT])) from None
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
