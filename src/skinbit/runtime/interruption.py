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
    run, is_asked = os.getpid(), False

    def stop(number: int, _: FrameType | None) -> NoReturn:
        nonlocal is_asked
        if os.getpid() != run or is_asked:  # forked workers inherit this function
            os._exit(128 + number)  # every save is atomic; the next run removes unfinished files
        is_asked = True
        for child in active_children():
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
