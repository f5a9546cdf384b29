"""The study's end of the wire to the tracking process."""

import multiprocessing
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import skinbit
from skinbit.runtime.tracking.messages import End, Message, pack_message

_MODULE = "skinbit.runtime.tracking.process"
_LONGEST_TURN = 10.0
_LONGEST_WAIT = 120.0
"""Seconds; afterwards the process goes on alone."""


class TrackingLink:
    """A tracking process and the way to tell it something, from any thread and from forked workers."""

    def __init__(self, project: Path) -> None:
        """Start the process.

        Args:
            project: Folder that it works in.

        Raises:
            OSError: If it cannot be started.
        """
        package = str(Path(skinbit.__file__).parents[1])  # Kedro may have found it in src/, without installation
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        # Workers of ParallelRunner inherit lock and wire. Asked for by name: asking for the default would settle it.
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        self._turn = multiprocessing.get_context(method).Lock()
        far_end, self._wire = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE],
                cwd=project,
                env=os.environ | {"PYTHONPATH": path},
                stdin=far_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the study
            )
        finally:
            os.close(far_end)

    def send(self, message: Message) -> None:
        """Send a message; the process takes in at once whatever comes, so nobody waits for a server here.

        Args:
            message: To send.

        Raises:
            OSError: If the process has ended.
        """
        if not self._turn.acquire(timeout=_LONGEST_TURN):
            raise TimeoutError("a worker was killed while it wrote")
        try:
            rest = memoryview(pack_message(message))
            while rest:
                rest = rest[os.write(self._wire, rest) :]
        finally:
            self._turn.release()

    def end(self, failed: bool) -> str | None:
        """Tell that the study has ended and wait until all is written.

        Args:
            failed: Whether the study did not come to its end.

        Returns:
            What went wrong; None if nothing did.
        """
        with suppress(OSError):  # it may have ended already, and says why
            self.send(End(failed=failed))
        os.close(self._wire)
        try:
            reason, _ = self._process.communicate(timeout=_LONGEST_WAIT)
        except subprocess.TimeoutExpired:
            return f"still writing after {_LONGEST_WAIT:.0f} seconds; it goes on by itself"
        code = self._process.returncode
        return reason or (f"the tracking process ended with code {code}" if code else None)
