"""The trainable head of a backbone, and both together."""

import torch
from torch import nn
from torch.nn import functional as F

from skinbit.config import HeadParams
from skinbit.embedding.weights import drawn_from


class Head(nn.Module):
    """A linear or MLP projection to unit length, after an optional batch norm of the features (Luo et al. 2019)."""

    def __init__(self, feature_dim: int, params: HeadParams) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.BatchNorm1d(feature_dim)] if params.neck else []
        width = feature_dim
        for hidden in params.hidden:
            layers += [nn.Linear(width, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
            width = hidden
        if params.dim is not None:
            layers.append(nn.Linear(width, params.dim, bias=False))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map ``(n, feature_dim)`` features to ``(n, embedding_dim)`` float32 embeddings of unit length."""
        return F.normalize(self.layers(features).float(), dim=1)


class EmbeddingModel(nn.Module):
    """A backbone with its head: from pixels to embeddings.

    ``has_frozen_statistics`` keeps the backbone's batch norms at their pretrained statistics during training.
    """

    def __init__(self, backbone: nn.Module, head: Head, has_frozen_statistics: bool = False) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self._has_frozen_statistics = has_frozen_statistics

    def train(self, mode: bool = True) -> "EmbeddingModel":
        """Switch training mode on or off."""
        super().train(mode)
        if self._has_frozen_statistics:
            for module in self.backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map ``(n, 3, s, s)`` normalised pixels to ``(n, embedding_dim)`` float32 embeddings of unit length."""
        embeddings: torch.Tensor = self.head(self.backbone(pixels).float())
        return embeddings


def make_head(feature_dim: int, params: HeadParams, seed: int) -> Head:
    """Return a head on the CPU, in training mode, with random weights drawn from the seed."""
    with drawn_from(seed):
        return Head(feature_dim, params)
