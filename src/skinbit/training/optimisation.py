"""Learning rates of parameters."""

from torch import nn

from skinbit.config import TrainingParams
from skinbit.embedding.heads import EmbeddingModel


def parameter_groups(module: nn.Module, params: TrainingParams) -> list[dict[str, object]]:
    """Return AdamW's groups: the head at the full learning rate, deeper layers of a backbone at lower ones.

    Weight decay applies to matrices only. Layers are those of :func:`timm.optim.param_groups_layer_decay` (BEiT's
    rule), or stages if a backbone is pooled by levels.

    Args:
        module: A head, or a backbone with its head.
        params: Learning rate, its factors, and weight decay.

    Returns:
        Groups with ``params``, ``weight_decay`` and ``full_lr``, the learning rate after warm-up.
    """
    if not isinstance(module, EmbeddingModel):
        return _groups(module, params.learning_rate, params.weight_decay)
    rate = params.learning_rate * params.backbone_rate
    levels = getattr(module.backbone, "levels", None)
    backbone = _network_groups(module.backbone, rate, params) if levels is None else _stage_groups(levels, rate, params)
    return backbone + _groups(module.head, params.learning_rate, params.weight_decay)


def _network_groups(network: nn.Module, rate: float, params: TrainingParams) -> list[dict[str, object]]:
    from timm.optim import param_groups_layer_decay

    layers = param_groups_layer_decay(network, params.weight_decay, layer_decay=params.layer_decay)
    return [_group(layer["params"], layer["weight_decay"], rate * layer["lr_scale"]) for layer in layers]


def _stage_groups(levels: nn.Module, rate: float, params: TrainingParams) -> list[dict[str, object]]:
    stages = [stage for stage in levels.children() if any(True for _ in stage.parameters())]
    rates = [rate * params.layer_decay ** (len(stages) - 1 - depth) for depth in range(len(stages))]
    stage_groups = (_groups(stage, rate, params.weight_decay) for stage, rate in zip(stages, rates, strict=True))
    return [group for groups in stage_groups for group in groups]


def _groups(module: nn.Module, rate: float, weight_decay: float) -> list[dict[str, object]]:
    matrices = [tensor for tensor in module.parameters() if tensor.ndim > 1]
    vectors = [tensor for tensor in module.parameters() if tensor.ndim <= 1]
    return [_group(tensors, decay, rate) for tensors, decay in ((matrices, weight_decay), (vectors, 0.0)) if tensors]


def _group(tensors: list[nn.Parameter], weight_decay: float, rate: float) -> dict[str, object]:
    return {"params": tensors, "weight_decay": weight_decay, "lr": rate, "full_lr": rate}
