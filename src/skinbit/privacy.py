"""No library reports its use: nothing about medical data leaves the machine."""

import os

SWITCHES = {
    "DO_NOT_TRACK": "1",  # the common switch; Kedro's telemetry, which pip installs with Kedro, respects it
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def refuse_telemetry() -> None:
    """Set the switches that libraries read, for this process and the processes it starts.

    Kedro calls this before any of its commands (entry point ``kedro.init``), whatever the working folder.
    """
    os.environ.update(SWITCHES)
