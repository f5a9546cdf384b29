"""Names of the places that runs are written to, for people."""

import re

from skinbit.config import TrackingParams

_OWN = {"mlflow": "mlflow.db (`mlflow ui` shows it)", "wandb": "wandb/ (`wandb sync` uploads it)"}
_PASSWORD = re.compile(r"//[^/@\s]+@")


def describe_place(tracking: TrackingParams) -> str:
    """Say where runs are written to."""
    return _OWN[tracking.backend] if tracking.uri is None else without_password(tracking.uri)


def without_password(text: str) -> str:
    """Remove user names and passwords from the addresses in a text."""
    return _PASSWORD.sub("//", text)
