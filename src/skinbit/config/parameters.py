"""The root of all parameters, and the rules that span several blocks."""

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from skinbit.config.backbone import BackboneParams
from skinbit.config.block import Block, Name, PathText, require, split_joined
from skinbit.config.data import DataParams, SampleParams, SplitParams
from skinbit.config.evaluation import AuditParams, ClusterParams, CutParams, EvaluationParams
from skinbit.config.experiment import ExperimentParams, with_members
from skinbit.config.losses import LossesParams
from skinbit.config.machine import ComputeParams, ExecutorParams, LoaderParams, MemoryParams
from skinbit.config.recipe import Recipe, Shared, resolve_recipe
from skinbit.config.report import ReportParams, TrackingParams
from skinbit.config.similarity import ContextsParams, GeometryParams, SimilarityParams
from skinbit.config.training import AugmentationParams, TrainingBlock

STAGES = {
    *("sample_data", "data_split", "baseline_embeddings", "metric_learning", "evaluation", "final_model"),
    *("cluster_images", "clusters", "report", "audit"),
}
"""Names of pipelines and boxes in the graph, which no experiment may take."""


RECOMMENDED = "recommended"
"""The experiment that groups photographs where no model is named."""


class StudyParams(Block):
    """What runs: the only parameters that shape the graph."""

    experiments: Annotated[tuple[Name, ...], BeforeValidator(split_joined), Field(min_length=1)]
    folds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(split_joined), Field(min_length=1)]
    sample_data: bool = Field(default=False, description="true: make synthetic photographs first")
    decisions: PathText | None = Field(
        default=None, description="ledger of answers that correct the labels before the split; null: none"
    )

    @model_validator(mode="after")
    def _listed_once(self) -> Self:
        for field in ("experiments", "folds"):
            listed = getattr(self, field)
            if len(set(listed)) < len(listed):
                raise ValueError(f"study.{field} names one twice: {', '.join(map(str, listed))}")
        return self


class Parameters(Block):
    """All blocks of ``parameters*.yml``."""

    seed: int = Field(default=42, strict=True, ge=0, lt=2**32)
    study: StudyParams
    data: DataParams = DataParams()
    split: SplitParams = SplitParams()
    loader: LoaderParams = LoaderParams()
    compute: ComputeParams = ComputeParams()
    memory: MemoryParams = MemoryParams()
    executor: ExecutorParams = ExecutorParams()
    evaluation: EvaluationParams = EvaluationParams()
    sample: SampleParams = SampleParams()
    report: ReportParams = ReportParams()
    cluster: ClusterParams = ClusterParams()
    audit: AuditParams = AuditParams()
    tracking: TrackingParams = TrackingParams()
    training: TrainingBlock = TrainingBlock()
    losses: LossesParams = LossesParams()
    similarity: SimilarityParams = SimilarityParams()
    geometry: GeometryParams = GeometryParams()
    backbones: dict[Name, BackboneParams]
    experiments: dict[Name, ExperimentParams]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        require(self.study.experiments, self.experiments, "study.experiments", "experiment")
        named = [entry.backbone for entry in self.experiments.values() if entry.backbone is not None]
        require(named, self.backbones, "experiments", "backbone")
        beyond = [fold for fold in self.study.folds if fold >= self.split.n_folds]
        if beyond:
            raise ValueError(f"study.folds names fold {beyond[0]}, but split.n_folds is {self.split.n_folds}")
        clash = sorted(set(self.backbones) & set(self.experiments))
        if clash:
            raise ValueError(f"{clash[0]!r} names a backbone and an experiment: rename one of them")
        taken = sorted(STAGES & (self.experiments.keys() | self.backbones.keys()))
        if taken:
            raise ValueError(
                f"an experiment or backbone must not be called {taken[0]!r}: a stage of the study has this name"
            )
        return self

    @model_validator(mode="after")
    def _members_exist(self) -> Self:
        for name, entry in self.experiments.items():
            require(entry.combine, self.experiments, f"experiments.{name}.combine", "experiment")
            nested = [member for member in entry.combine if self.experiments[member].is_combination]
            if nested:
                raise ValueError(
                    f"experiments.{name}.combine names {nested[0]}, which is a combination: name its members instead"
                )
        return self

    @model_validator(mode="after")
    def _clustering_model_exists(self) -> Self:
        name, fold = self.cluster.experiment, self.cluster.fold
        if name is not None:
            require([name], self.experiments, "cluster.experiment", "experiment")
            if fold is not None and not self.experiments[name].is_trained:
                raise ValueError(f"cluster.fold: {name} trains nothing, so it has a final model only; leave fold out")
            if fold is not None and fold >= self.split.n_folds:
                raise ValueError(f"cluster.fold is {fold}, but split.n_folds is {self.split.n_folds}")
        return self

    @model_validator(mode="after")
    def _audited_baseline_exists(self) -> Self:
        name = self.audit.experiment
        if name is not None:
            require([name], self.experiments, "audit.experiment", "experiment")
            if self.experiments[name].is_combination:
                raise ValueError(f"audit.experiment: {name} is a combination; name a baseline")
            if self.experiments[name].is_trained:
                raise ValueError(
                    f"audit.experiment: {name} is trained on the labels that an audit doubts, and each of its folds "
                    "has embeddings of its own; name a baseline"
                )
        return self

    @model_validator(mode="after")
    def _recipes_are_whole(self) -> Self:
        for name, recipe in self.recipes.items():
            head = None if recipe.training is None else recipe.training.params.head
            if head is not None and recipe.is_frozen and head.dim is None and not head.neck:
                raise ValueError(f"experiments.{name}: frozen and without a head there is nothing to train")
        return self

    @model_validator(mode="after")
    def _groups_can_hold_a_lesion(self) -> Self:
        size, largest = self.evaluation.max_group_size, self.data.max_images_per_lesion
        if size is not None and size < largest:
            raise ValueError(
                f"evaluation.max_group_size is {size}, but a lesion may have {largest} images "
                "(data.max_images_per_lesion): raise the one, or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _distractors_are_left_out(self) -> Self:
        if self.has_distractors and self.data.min_images_per_lesion < 2:
            raise ValueError(
                "evaluation.distractors puts lesions of one image among the folds' lesions, but "
                "data.min_images_per_lesion=1 has dealt them into the folds: set the one to 0, or the other to 2"
            )
        return self

    @model_validator(mode="after")
    def _every_fold_gets_a_lesion(self) -> Self:
        n_parts = self.split.n_folds + self.split.use_train_test_split
        if self.data.max_lesions is not None and self.data.max_lesions < n_parts:
            raise ValueError(f"data.max_lesions is {self.data.max_lesions}, but folds and test subset need {n_parts}")
        return self

    @model_validator(mode="after")
    def _trained_heads_are_not_whitened(self) -> Self:
        trained = [name for name in self.running if self.experiments[name].is_trained]
        whitened = [name for name in trained if self.recipes[name].similarity.whitening is not None]
        if whitened:
            raise ValueError(
                f"similarity.whitening is for experiments that train nothing, not for {whitened[0]}: a trained head "
                "has weighed its directions already. Set it in experiments.<baseline>.similarity"
            )
        return self

    @model_validator(mode="after")
    def _zoom_pairs_have_zooms(self) -> Self:
        for name in self.running:
            recipe = self.recipes[name]
            if not recipe.similarity.zoom_pairs:
                continue
            if self.experiments[name].is_trained:
                raise ValueError(
                    f"similarity.zoom_pairs is for experiments that train nothing, not for {name}: its head sees every "
                    "zoom in training already. Set it in experiments.<baseline>.similarity"
                )
            if recipe.backbone is None or len(recipe.backbone.test_views.zooms) < 2:
                raise ValueError(
                    f"experiments.{name}.similarity.zoom_pairs compares zooms, but {name} has only one: "
                    "set test_views.zooms, such as [1.0, 1.5, 2.2, 3.2], or leave zoom_pairs out"
                )
        return self

    @cached_property
    def recipes(self) -> dict[str, Recipe]:
        """Return the resolved settings of every declared experiment, by name."""
        shared = Shared(self.backbones, self.similarity, self.training, self.losses)
        return {name: resolve_recipe(name, entry, shared) for name, entry in self.experiments.items()}

    def as_tree(self) -> dict[str, Any]:
        """Return the parameters as nodes receive them: plain values.

        Returns:
            All parameters; ``recipes`` has the resolved experiments by name, ``cuts`` the ranges of the search, so that
            nodes that choose cuts depend on no other evaluation setting, ``contexts`` the metadata columns in use.
        """
        derived: dict[str, Block] = {
            "cuts": CutParams(**{name: getattr(self.evaluation, name) for name in CutParams.model_fields}),
            "contexts": self.contexts,
        }
        recipes = {name: recipe.model_dump(mode="json") for name, recipe in self.recipes.items()}
        plain = {name: block.model_dump(mode="json") for name, block in derived.items()}
        return self.model_dump(mode="json") | {"recipes": recipes} | plain

    @property
    def contexts(self) -> ContextsParams:
        """Return the metadata columns that each running experiment uses."""
        contexts = {name: self.recipes[name].similarity.context for name in self.running}
        return ContextsParams(by_experiment={name: found for name, found in contexts.items() if found is not None})

    @property
    def has_distractors(self) -> bool:
        """Whether folds are evaluated a second time with distractors."""
        return self.evaluation.distractors != 0

    @property
    def running(self) -> tuple[str, ...]:
        """Return the experiments that run: those of the study, and the members of its combinations."""
        return with_members(self.study.experiments, self.experiments)

    def features_of(self, experiment: str) -> str:
        """Return the name of an experiment's features: its backbone, or the experiment if it overrides that."""
        entry = self.experiments[experiment]
        return experiment if entry.feature_overrides else str(entry.backbone)

    def training_views_of(self, experiment: str) -> str:
        """Return the name of the training views that an experiment uses.

        It is the name of the features or, where the experiment overrides the study's augmentation, of the first
        experiment that augments the same features in the same way.
        """
        wanted = self._augmented_features(experiment)
        if wanted[1] == self.training.augmentation:
            return wanted[0]
        return next(name for name in self.experiments if self._augmented_features(name) == wanted)

    def _augmented_features(self, experiment: str) -> tuple[str, AugmentationParams | None]:
        training = self.recipes[experiment].training
        return (experiment, None) if training is None else (self.features_of(experiment), training.augmentation)

    def trained_as(self, experiment: str) -> str:
        """Return the first experiment that is trained in the same way, which may be the experiment itself.

        Experiments that differ only in their similarity are trained once and share the states of their trainings.
        """
        own = self.recipes[experiment]
        return next(
            name
            for name, recipe in self.recipes.items()
            if recipe.training is not None and (recipe.backbone, recipe.training) == (own.backbone, own.training)
        )

    @property
    def grouping_experiment(self) -> str | None:
        """Return the experiment whose model groups photographs; None for a checkpoint, or if there is none."""
        named, checkpoint = self.cluster.experiment, self.cluster.checkpoint
        is_by_default = named is None and checkpoint is None and RECOMMENDED in self.experiments
        return RECOMMENDED if is_by_default else named

    @property
    def groups_sample(self) -> bool:
        """Whether the study ends with groups of synthetic photographs: those that it makes without labels."""
        is_made = self.study.sample_data and self.sample.n_unlabelled > 0
        return is_made and self.grouping_experiment in self.running

    @property
    def audited_experiment(self) -> str | None:
        """Return the baseline whose embeddings an audit compares; None where no baseline is declared."""
        if self.audit.experiment is not None:
            return self.audit.experiment
        named = (*self.study.experiments, *self.experiments)
        return next((name for name in named if self.experiments[name].loss == "baseline"), None)

    def only(self, experiment: str) -> "Parameters":
        """Return the parameters for a study of one experiment, with its members if it is a combination."""
        return self.model_copy(update={"study": self.study.model_copy(update={"experiments": (experiment,)})})
