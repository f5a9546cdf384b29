"""What every test relies on: no network, no window, one thread, the same examples on every run, and Ctrl-C."""

import os
import signal
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["MATPLOTLIBRC"] = str(Path(__file__).with_name("matplotlibrc"))  # few pixels are drawn in half the time
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks and tables are fastest on one thread

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # begun in the background of a shell: processes would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

from hypothesis import settings

settings.register_profile("skinbit", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("skinbit")

sys.modules.setdefault("ibis", None)  # not installed; Kedro would search for it a thousand times in every run
