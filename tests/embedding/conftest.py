"""Small photographs and networks that the embedding tests share."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.photographs import list_photographs
from skinbit.data.listed import ListedPhotographs


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> ListedPhotographs:
    """Seven photographs ``a`` to ``g``, none square, none symmetric."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for name in "abcdefg":
        coarse = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        photograph = Image.fromarray(coarse).resize((60, 45), Image.Resampling.BICUBIC)
        photograph.save(folder / f"{name}.png")
    return list_photographs(folder)


@pytest.fixture(scope="session")
def photograph_a(photographs: ListedPhotographs) -> Image.Image:
    return Image.open(f"{photographs.folder.root}/a.png").convert("RGB")


@pytest.fixture(scope="session")
def weights_of_resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All weights of a ``test_resnet`` of another seed than any test asks for, classifier included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(987)
        network = timm.create_model("test_resnet", pretrained=False)
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    save_file(network.state_dict(), path)
    return path
