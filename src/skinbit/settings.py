"""Project settings: see https://docs.kedro.org/en/stable/configure/."""

import warnings

from omegaconf.resolvers import oc

from skinbit.privacy import refuse_telemetry
from skinbit.runtime.context import StudyContext, find_parameter
from skinbit.runtime.hooks import AuditHooks, ConfinementHooks, FingerprintHooks, SummaryHooks
from skinbit.runtime.places import join_place
from skinbit.runtime.session import StudySession
from skinbit.runtime.steps import StepHooks
from skinbit.runtime.tracking.hooks import TrackingHooks

# Kedro 1.7 calls a function that omegaconf 2.4 has renamed; a user can do nothing about it.
warnings.filterwarnings("ignore", message="register_new_resolver", category=UserWarning)
# The leaderboard reads every experiment's results, so it uses datasets of other namespaces.
warnings.filterwarnings("ignore", message=r"One or more dataset names contain '\.'", category=UserWarning)
# Nodes with a fold are partial functions; ParallelRunner's pickling drops their name.
warnings.filterwarnings("ignore", message=r"The node producing outputs .* 'partial' function", category=UserWarning)

refuse_telemetry()

HOOKS = (ConfinementHooks(), FingerprintHooks(), TrackingHooks(), StepHooks(), SummaryHooks(), AuditHooks())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro_telemetry",)  # see skinbit.privacy
CONTEXT_CLASS = StudyContext
SESSION_CLASS = StudySession
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    # Soft: an environment overrides single values, not whole blocks.
    "merge_strategy": {"parameters": "soft", "globals": "soft"},
    # SKINBIT_RAW_DIR, SKINBIT_METADATA_FILE; `place` joins folders and files; `parameter` is one of parameters*.yml
    "custom_resolvers": {"oc.env": oc.env, "place": join_place, "parameter": find_parameter},
}
