"""Losses and miners of pytorch-metric-learning, on cosine similarity of unit-length embeddings."""

from collections.abc import Callable

import torch

from skinbit.config.losses import ContrastiveParams, InfonceParams, LossParams, TripletParams

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Function from embeddings ``(n, embedding_dim)`` and lesions ``(n,)`` to a scalar."""


def make_loss(params: LossParams) -> Loss:
    """Return a loss, with its miner, as a function of embeddings and lesions.

    * contrastive: ``mean(1 - s)`` over positive pairs plus ``mean(max(0, s - margin))`` over negative pairs, each mean
      over pairs whose term is not 0 (Hadsell et al. 2006, on cosine similarity s);
    * triplet: mean of ``max(0, s(a, n) - s(a, p) + margin)`` over the mined triplets whose term is not 0
      (Schroff et al. 2015);
    * infonce: cross-entropy of each positive against all other images of the batch, ``s / temperature`` as logits,
      averaged over an anchor's positives, then over anchors whose term is not 0, as it is in float32 once an anchor's
      positives are far closer than all others (van den Oord et al. 2018, Khosla et al. 2020).
    """
    match params:
        case ContrastiveParams():
            return _contrastive(params)
        case TripletParams():
            return _triplet(params)
        case InfonceParams():
            return _infonce(params)


def _contrastive(params: ContrastiveParams) -> Loss:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import ContrastiveLoss

    loss = ContrastiveLoss(pos_margin=1, neg_margin=params.margin, distance=CosineSimilarity())
    return _hardest_negatives(loss) if params.miner == "hard" else loss


def _triplet(params: TripletParams) -> Loss:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import TripletMarginLoss
    from pytorch_metric_learning.miners import TripletMarginMiner

    loss: Callable[..., torch.Tensor] = TripletMarginLoss(margin=params.margin, distance=CosineSimilarity())
    if params.miner == "all":
        return loss
    miner = TripletMarginMiner(margin=params.margin, type_of_triplets=params.miner, distance=CosineSimilarity())
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))


def _infonce(params: InfonceParams) -> Loss:
    from pytorch_metric_learning.losses import SupConLoss

    # Not NTXentLoss: it expands every positive pair against every negative one, gigabytes for 256 lesions.
    loss = SupConLoss(temperature=params.temperature)
    return _hardest_negatives(loss) if params.miner == "hard" else loss


def _hardest_negatives(loss: Callable[..., torch.Tensor]) -> Loss:
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.miners import BatchEasyHardMiner

    miner = BatchEasyHardMiner(pos_strategy="all", neg_strategy="hard", distance=CosineSimilarity())
    return lambda embeddings, labels: loss(embeddings, labels, miner(embeddings, labels))
