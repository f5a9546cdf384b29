"""All parameters with their ranges and units, as frozen pydantic models: a misspelt key fails before anything runs."""

from skinbit.config.backbone import BackboneParams, PoolingParams, ViewParams
from skinbit.config.block import LICENCES, MAX_MEMBERS, MEMBERS, NAME_PATTERN, AnyBlock, Block, Name, in_words
from skinbit.config.data import DataParams, Policy, PolicyParams, SampleParams, SplitParams
from skinbit.config.evaluation import AuditParams, ClusterParams, CutParams, EvaluationParams
from skinbit.config.experiment import ExperimentParams, setup_of, with_members
from skinbit.config.losses import ContrastiveParams, InfonceParams, LossesParams, LossName, LossParams, TripletParams
from skinbit.config.machine import ComputeParams, ExecutorParams, LoaderParams, MemoryParams
from skinbit.config.parameters import RECOMMENDED, STAGES, Parameters, StudyParams
from skinbit.config.recipe import Recipe, TrainingRecipe
from skinbit.config.report import ArtifactKind, ReportParams, TrackingParams
from skinbit.config.settings import settings_of, study_settings
from skinbit.config.similarity import (
    ContextParams,
    ContextsParams,
    EvidenceParams,
    GeometryParams,
    RerankingParams,
    ScalingParams,
    SimilarityParams,
    WhiteningParams,
)
from skinbit.config.training import AugmentationParams, HeadParams, TrainingBlock, TrainingParams

__all__ = [
    "LICENCES",
    "MAX_MEMBERS",
    "MEMBERS",
    "NAME_PATTERN",
    "RECOMMENDED",
    "STAGES",
    "AnyBlock",
    "ArtifactKind",
    "AuditParams",
    "AugmentationParams",
    "BackboneParams",
    "Block",
    "ClusterParams",
    "ComputeParams",
    "ContextParams",
    "ContextsParams",
    "ContrastiveParams",
    "CutParams",
    "DataParams",
    "EvaluationParams",
    "EvidenceParams",
    "ExecutorParams",
    "ExperimentParams",
    "GeometryParams",
    "HeadParams",
    "InfonceParams",
    "LoaderParams",
    "LossName",
    "LossParams",
    "LossesParams",
    "MemoryParams",
    "Name",
    "Parameters",
    "Policy",
    "PolicyParams",
    "PoolingParams",
    "Recipe",
    "ReportParams",
    "RerankingParams",
    "SampleParams",
    "ScalingParams",
    "SimilarityParams",
    "SplitParams",
    "StudyParams",
    "TrackingParams",
    "TrainingBlock",
    "TrainingParams",
    "TrainingRecipe",
    "TripletParams",
    "ViewParams",
    "WhiteningParams",
    "in_words",
    "settings_of",
    "setup_of",
    "study_settings",
    "with_members",
]
