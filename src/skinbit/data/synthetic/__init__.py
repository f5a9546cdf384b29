"""Synthetic dermoscopic photographs: lesions and the way they are photographed are drawn independently."""

from skinbit.data.synthetic.capture import Capture, draw_capture
from skinbit.data.synthetic.identity import LesionIdentity, draw_identity
from skinbit.data.synthetic.photograph import (
    CAPTURES_OF_ARCHIVE,
    CAPTURES_PER_LESION,
    Photograph,
    count_photographs,
    make_photographs,
    render,
)

__all__ = [
    "CAPTURES_OF_ARCHIVE",
    "CAPTURES_PER_LESION",
    "Capture",
    "LesionIdentity",
    "Photograph",
    "count_photographs",
    "draw_capture",
    "draw_identity",
    "make_photographs",
    "render",
]
