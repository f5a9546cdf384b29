"""What an answer may say."""

import pytest
from pydantic import ValidationError

from skinbit.decisions.answers import Answer, new_id

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.mark.parametrize(
    ("verdict", "parts"),
    [
        ("same lesion", ((A, B),)),
        ("same lesion", ((A, B, C),)),
        ("different lesions", ((A,), (B,))),
        ("different lesions", ((A, B), (C,))),
        ("cannot tell", ((A,), (B,))),
    ],
)
def test_a_verdict_fits_its_parts(verdict, parts):
    assert Answer(verdict=verdict, parts=parts).parts == parts


@pytest.mark.parametrize(
    "wrong",
    [
        {"verdict": "same lesion", "parts": ((A,),)},
        {"verdict": "same lesion", "parts": ((A,), (B,))},
        {"verdict": "same lesion", "parts": ((A, A),)},
        {"verdict": "different lesions", "parts": ((A, B),)},
        {"verdict": "different lesions", "parts": ((A,), ())},
        {"verdict": "cannot tell", "parts": ((A, B), (C,))},
        {"verdict": "same lesion", "parts": (tuple(f"{number:064x}" for number in range(301)),)},
        {"verdict": "undo"},
        {"verdict": "undo", "undoes": new_id(), "parts": ((A, B),)},
        {"verdict": "same lesion", "parts": ((A, B),), "undoes": new_id()},
        {"verdict": "maybe", "parts": ((A, B),)},
        {"verdict": "same lesion", "parts": ((A, "B" * 64),)},
        {"verdict": "same lesion", "parts": ((A, B + "\n"),)},
        {"verdict": "same lesion", "parts": ((A, B),), "answer_id": "1"},
        {"verdict": "same lesion", "parts": ((A, B),), "reviewer": "=cmd()"},
        {"verdict": "same lesion", "parts": ((A, B),), "reviewer": "x" * 501},
        {"verdict": "same lesion", "parts": ((A, B),), "time": "2026-13-01T00:00:00Z"},
        {"verdict": "same lesion", "parts": ((A, B),), "shown": {"probability": 1.5}},
        {"verdict": "same lesion", "parts": ((A, B),), "shown": {"cut": float("nan")}},
        {"verdict": "same lesion", "parts": ((A, B),), "said": "more"},
    ],
)
def test_anything_else_is_refused(wrong):
    with pytest.raises(ValidationError):
        Answer(**wrong)
