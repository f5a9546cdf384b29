"""Small lesions to learn: features and photographs in which identity hides below stronger nuisance."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from skinbit.embedding.checkpoints import StoredState
from skinbit.runtime.datasets.checkpoint import pack_tensors, unpack_tensors
from skinbit.training.fit import Subset
from skinbit.training.images import CachedViews

N_LESIONS = 24
N_TRAINED = 16
FEATURE_DIM = 12
N_VIEWS = 4


@dataclass
class Memory:
    """A store of states that keeps their bytes, and how many were written."""

    content: bytes | None = None
    n_writes: int = field(default=0)

    def read(self) -> StoredState | None:
        return None if self.content is None else StoredState(*unpack_tensors(self.content))

    def write(self, state: StoredState) -> None:
        self.content = pack_tensors(state.tensors, state.header)
        self.n_writes += 1


@dataclass
class Lesions:
    """Images of lesions of two, three and four photographs; the last third of the lesions validates."""

    images: CachedViews
    train: Subset
    validation: Subset


def make_lesions(seed: int = 0) -> Lesions:
    """Identity lies in the first third of the dimensions, a nuisance five times as strong in the others."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(N_LESIONS), np.arange(N_LESIONS) % 3 + 2)
    strength = np.repeat([0.4, 2.0], [FEATURE_DIM // 3, FEATURE_DIM - FEATURE_DIM // 3])
    identity = rng.normal(size=(N_LESIONS, FEATURE_DIM)) * (strength < 1)
    views = identity[labels][:, None] + rng.normal(size=(len(labels), N_VIEWS + 1, FEATURE_DIM)) * strength
    rows = np.arange(len(labels))
    trains = labels < N_TRAINED
    return Lesions(
        CachedViews(np.float32(views[:, 1:]), np.float32(views[:, 0])),
        Subset(rows[trains], labels[trains]),
        Subset(rows[~trains], labels[~trains] - N_TRAINED),
    )


@pytest.fixture
def store() -> Memory:
    return Memory()


@pytest.fixture(scope="session")
def lesions() -> Lesions:
    return make_lesions()
