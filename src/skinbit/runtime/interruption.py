"""How a run ends that is asked to stop."""

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
    """A run that was asked to stop: one line on standard error, and the exit code that shells know for the signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"Interrupted by {signal.Signals(number).name}. {RESUME}")
        self.exit_code = 128 + number  # type: ignore[misc]  # click declares it for the class and reads the instance's

    def show(self, file: Any = None) -> None:
        """Print the line; nothing has gone wrong, so it is not called an error."""
        click.echo(self.format_message(), file=file or sys.stderr)


@contextmanager
def stoppable() -> Iterator[None]:
    """End a run in order when it is asked to stop: by Ctrl-C, or by SIGTERM as batch systems and containers send it.

    Worker processes end at once. Threads cannot be ended from outside: what they compute is awaited, unless the signal
    comes a second time. Nothing is done outside of the main thread, which alone receives signals.

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
            os._exit(128 + number)  # every save is atomic; the next run removes what is half written
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
