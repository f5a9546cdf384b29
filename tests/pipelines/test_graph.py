"""The shape of the graph: what configuration decides, and what every command sees alike."""

import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pandas as pd
import pytest
from kedro.config import OmegaConfigLoader
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.utils import load_obj
from kedro.validation.exceptions import ValidationConfigurationError
from pydantic import BaseModel

from skinbit import settings
from skinbit.config import Parameters
from skinbit.pipeline_registry import build_pipelines
from skinbit.runtime.catalog import StudyCatalog
from skinbit.runtime.context import read_parameters
from skinbit.runtime.schemas import Split

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENTS = ("base", "dev", "demo")
LAYERS = ("raw", "intermediate", "feature", "models", "model_output", "reporting")

TABLES = "{experiment}.{table}"

COMBINED = {"both": {"combine": ["vit_triplet", "resnet_baseline"]}}
COMBINED_AND_VERIFIED = {
    "study": {"experiments": "both"},
    "experiments": {"both": {**COMBINED["both"], "similarity": {"verification": True}}},
    "evaluation": {"distractors": 3},
}


def loader(env, **params):
    return OmegaConfigLoader(
        str(REPOSITORY / "conf"), env=env, runtime_params=params or None, **settings.CONFIG_LOADER_ARGS
    )


def parameters(env="demo", **params) -> Parameters:
    return read_parameters(loader(env, **params))


@cache
def pipelines_of(env="demo"):
    """Return the parameters of an environment as it is, and its pipelines."""
    declared = parameters(env)
    return declared, build_pipelines(declared)


@cache
def catalog_of(env="base"):
    return StudyCatalog.from_config(loader(env)["catalog"])


def small_study(experiments, entries=None):
    return build_pipelines(parameters(study={"experiments": experiments, "folds": 1}, experiments=entries or {}))[
        "__default__"
    ]


def trainings(**options):
    """Return what each training of a fold looks at, by experiment."""
    found = {}
    for node in small_study(**options).nodes:
        if node.name.endswith(".fold_1.train_model"):
            seen = {name.partition("_")[2] for name in node.inputs if not name.startswith("params:")}
            found[node.name.partition(".")[0]] = seen - {"states", ""}
    return found


def made_once(**options):
    """Return what is made for all experiments of a backbone: features, pixels, training views."""
    nodes = [node for node in small_study(**options).nodes if node.namespace == "baseline_embeddings"]
    return {name for node in nodes for name in node.outputs if not name.endswith("_description")}


def layers(pipeline):
    """Return the layers of a pipeline's datasets, each after those that it is made of."""
    catalog = catalog_of()
    before = defaultdict(set)
    for node in pipeline.nodes:
        inputs = [dataset for dataset in node.inputs if not dataset.startswith("params:")]
        made_of = {catalog[dataset].metadata["kedro-viz"]["layer"] for dataset in inputs}
        for output in node.outputs:
            layer = catalog[output].metadata["kedro-viz"]["layer"]
            before[layer] |= made_of - {layer}
    return list(TopologicalSorter(before).static_order())


class TestStudyIsData:
    def test_experiments_and_folds_decide_the_nodes(self):
        study = build_pipelines(parameters(study={"experiments": "vit_baseline", "folds": "1+4"}))["__default__"]
        folds = {node.namespace for node in study.nodes if node.namespace and "fold" in node.namespace}
        assert folds == {"vit_baseline.fold_1", "vit_baseline.fold_4"}

    @pytest.mark.parametrize("given", [3, "3", [3]])
    def test_one_fold_may_be_given_as_a_value_or_a_list(self, given):
        assert parameters(study={"folds": given}).study.folds == (3,)

    def test_every_experiment_and_stage_is_a_registered_pipeline(self):
        declared, registered = pipelines_of("base")
        stages = {"sample_data", "data_split", "baseline_embeddings", "metric_learning", "evaluation", "final_model"}
        assert registered.keys() == stages | {"cluster_images", "audit", "__default__"} | declared.experiments.keys()

    def test_the_study_has_every_backbone_with_every_loss(self):
        losses = ("baseline", "contrastive", "triplet", "infonce")
        twelve = [f"{backbone}_{loss}" for backbone in ("resnet", "vit", "dinov2") for loss in losses]
        for env in ENVIRONMENTS:
            others = ["recommended"] if env == "demo" else []
            assert sorted(parameters(env).study.experiments) == sorted([*twelve, *others])

    def test_a_frozen_backbone_gets_a_head_and_another_is_fine_tuned(self):
        photographs, cached = {"pixels", "description"}, {"features", "training_views"}
        assert trainings(experiments="resnet_infonce+vit_infonce+vit_baseline") == {
            "resnet_infonce": photographs,
            "vit_infonce": cached,
        }
        thawed = {"vit_infonce": {"frozen": False}}
        assert trainings(experiments="vit_infonce", entries=thawed) == {"vit_infonce": photographs}

    def test_no_training_reads_a_setting_of_the_evaluation(self):
        nodes = small_study(experiments="resnet_infonce+vit_infonce").nodes
        read = {name for node in nodes if node.name.endswith("train_model") for name in node.inputs}
        settings = {name.removeprefix("params:").split(".")[-1] for name in read if name.startswith("params:")}
        assert "training" in settings
        assert not {"evaluation", "cuts", "similarity", "report", "split"} & settings

    def test_only_what_is_trained_asks_for_pixels_and_training_views(self):
        asked = {
            experiment: made_once(experiments=experiment)
            for experiment in ("vit_baseline", "vit_triplet", "resnet_triplet")
        }
        assert asked == {
            "vit_baseline": {"vit_features"},
            "vit_triplet": {"vit_features", "vit_pixels", "vit_training_views"},
            "resnet_triplet": {"resnet_pixels"},
        }

    def test_training_views_are_shared_and_as_many_as_the_most_demanding_experiment_needs(self):
        more = {"vit_infonce": {"training": {"views": 20}}}
        study = small_study(experiments="vit_triplet+vit_infonce+vit_contrastive", entries=more)
        (extracting,) = (node for node in study.nodes if "training_views" in node.name)
        assert extracting.func.keywords["n_views"] == 20

    def test_an_experiment_that_augments_otherwise_has_training_views_of_its_own_and_shares_the_rest(self):
        entries = {"vit_infonce": {"augmentation": {"zoom": [1, 3]}, "training": {"views": 20}}}
        made = made_once(experiments="vit_triplet+vit_infonce", entries=entries)
        shared = {"vit_features", "vit_pixels", "vit_training_views"}
        assert made == shared | {"vit_infonce_training_views"}

    def test_its_views_are_made_with_its_own_ranges_and_reach_its_folds_and_its_final_model(self):
        entries = {"vit_infonce": {"augmentation": {"zoom": [1, 3]}}}
        inputs = {node.name: set(node.inputs) for node in small_study("vit_triplet+vit_infonce", entries=entries).nodes}
        extracting = "baseline_embeddings.extract_{}_training_views".format
        own = "params:recipes.vit_infonce.training.augmentation"
        assert own in inputs[extracting("vit_infonce")]
        assert own not in inputs[extracting("vit")]
        for experiment, own, other in (("vit_infonce", "vit_infonce", "vit"), ("vit_triplet", "vit", "vit_infonce")):
            for training in (f"{experiment}.fold_1.train_model", f"{experiment}.final.train_model"):
                assert f"{own}_training_views" in inputs[training]
                assert f"{other}_training_views" not in inputs[training]

    def test_experiments_that_augment_alike_share_their_views_whichever_of_them_runs(self):
        far = {"augmentation": {"zoom": [1, 3]}}
        entries = {"vit_triplet": far, "vit_infonce": far, "vit_contrastive": {"augmentation": {"blur": 0.9}}}
        first = next(name for name in parameters().experiments if name in ("vit_triplet", "vit_infonce"))
        for running in ("vit_triplet+vit_infonce", "vit_infonce", "vit_triplet"):
            made = made_once(experiments=running, entries=entries)
            assert {name for name in made if "views" in name} == {f"{first}_training_views"}

    def test_a_combination_brings_its_members_wherever_it_runs(self):
        alone, listed = (
            build_pipelines(parameters(study={"experiments": names, "folds": "1+4"}, experiments=COMBINED))
            for names in ("both", "both+vit_triplet+resnet_baseline")
        )
        names = {node.name for node in listed["__default__"].nodes}
        assert {node.name for node in alone["__default__"].nodes} == names
        boxes = {name.split(".")[0] for name in names if "." in name}
        assert boxes >= {"both", "vit_triplet", "resnet_baseline"}
        by_name = {node.name for node in alone["both"].nodes}
        assert {name.split(".")[0] for name in names - by_name} == {"report"}

    def test_a_combination_embeds_nothing_itself(self):
        study = build_pipelines(parameters(study={"experiments": "both", "folds": "1+4"}, experiments=COMBINED))
        own = [node for node in study["__default__"].nodes if (node.namespace or "").startswith("both.")]
        made = {output: node.inputs for node in own for output in node.outputs if output.endswith(".embeddings")}
        members = ("vit_triplet", "resnet_baseline")
        assert made == {
            f"both.{subset}.embeddings": [f"{member}.{subset}.embeddings" for member in members]
            for subset in ("fold_1", "fold_4", "final")
        }
        assert {node.namespace for node in own} == {"both.fold_1", "both.fold_4", "both.final"}

    def test_an_audit_is_asked_for_and_makes_the_features_of_the_first_baseline(self):
        declared = parameters(study={"experiments": "vit_triplet+vit_baseline"})
        pipelines = build_pipelines(declared)
        audit = pipelines["audit"]
        assert {node.namespace for node in audit.nodes} == {"baseline_embeddings", "audit"}
        assert all(node.tags == {node.namespace} for node in audit.nodes)
        assert {name for name in audit.all_outputs() if name.endswith("_features")} == {"vit_features"}
        assert not audit.only_nodes_with_tags("audit").all_outputs() & pipelines["__default__"].all_outputs()

    @pytest.mark.parametrize(
        ("given", "audited"),
        [
            ({"study": {"experiments": "vit_triplet+dinov2_baseline"}}, "dinov2_baseline"),
            ({"study": {"experiments": "vit_triplet"}}, "resnet_baseline"),
            ({"audit": {"experiment": "vit_baseline"}}, "vit_baseline"),
            ({"study": {"experiments": "both"}, "experiments": COMBINED}, "resnet_baseline"),
        ],
    )
    def test_an_audit_compares_the_named_baseline_or_the_first(self, given, audited):
        assert parameters(**given).audited_experiment == audited

    def test_sample_data_belongs_to_the_whole_study_only_where_it_is_asked_for(self):
        for env in ENVIRONMENTS:
            names = {node.name for node in pipelines_of(env)[1]["__default__"].nodes}
            assert ("sample_data.make_sample" in names) == (env == "demo")

    def test_dev_runs_fold_0_of_30_lesions(self):
        assert parameters("dev").study.folds == (0,)
        assert parameters("dev").data.max_lesions == 30

    def test_ham10000_judges_every_lesion_in_a_fold_and_among_lesions_of_one_image(self):
        benchmark, pipelines = pipelines_of("ham10000")
        assert not benchmark.split.use_train_test_split
        assert benchmark.has_distractors
        outputs = pipelines["__default__"].all_outputs()
        assert {f"frozen_verified.fold_{fold}.distractor_shortlist" for fold in range(5)} <= outputs

    def test_the_ablation_of_ham10000_differs_from_the_benchmark_in_experiments_and_distractors_alone(self):
        benchmark, ablation = (loader(env) for env in ("ham10000", "ham10000_ablation"))
        assert benchmark["globals"] == ablation["globals"]
        trees = [read_parameters(one).model_dump() for one in (benchmark, ablation)]
        assert trees[0].pop("experiments").items() <= trees[1].pop("experiments").items()
        for tree in trees:
            del tree["study"], tree["evaluation"]["distractors"]
        assert trees[0] == trees[1]

    def test_the_starter_is_the_recipe_of_the_benchmark_that_trains_nothing_with_zooms_compared(self):
        starter, benchmark = parameters("starter"), parameters("ham10000")
        recipe = starter.recipes["starter"]
        assert recipe.similarity.zoom_pairs
        plain = recipe.model_copy(update={"similarity": recipe.similarity.model_copy(update={"zoom_pairs": False})})
        assert plain == benchmark.recipes["zooms_verified"]
        assert plain == parameters("base").recipes["recommended_light"]
        assert starter.study.sample_data
        assert "make_sample" in {
            node.short_name.rpartition(".")[2] for node in pipelines_of("starter")[1]["starter"].nodes
        }

    def test_features_are_shared_by_all_experiments_of_a_backbone(self):
        twins = {"vit_twin": {"backbone": "vit", "loss": "baseline"}}
        assert made_once(experiments="vit_baseline+vit_twin", entries=twins) == {"vit_features"}


class TestGraph:
    @pytest.mark.parametrize("env", ENVIRONMENTS)
    @pytest.mark.parametrize("changes", [{}, COMBINED_AND_VERIFIED], ids=["as it is", "with a combination"])
    def test_every_dataset_is_in_the_catalog(self, env, changes):
        """Nothing lives in memory only: resuming needs every output on disk."""
        catalog = catalog_of(env)
        pipelines = build_pipelines(parameters(env, **changes)) if changes else pipelines_of(env)[1]
        for name, pipeline in pipelines.items():
            datasets = {dataset for dataset in pipeline.datasets() if not dataset.startswith("params:")}
            assert not [dataset for dataset in datasets if dataset not in catalog], name

    def test_every_table_of_an_experiment_has_the_contract_of_its_name(self):
        catalog = StudyCatalog.from_config(loader("base")["catalog"])
        datasets = build_pipelines(parameters(**COMBINED_AND_VERIFIED))["__default__"].all_outputs()
        matched = {name for name in datasets if catalog.config_resolver.match_dataset_pattern(name) == TABLES}
        assert {catalog.get(name) and name.partition(".")[2] for name in matched} >= {"results", "pools"}
        assert all(isinstance(load_obj(validator), type(Split)) for validator in catalog.validators.values())

    @pytest.mark.parametrize("name", ["vit_triplet.judgment", "params:experiments.vit_triplt"])
    def test_a_misspelt_table_of_an_experiment_has_no_contract(self, name):
        """The pattern of an experiment's tables matches every name with a dot: nothing is saved without a contract."""
        catalog = StudyCatalog.from_config(loader("base")["catalog"])
        with pytest.raises(ValidationConfigurationError):
            catalog.save(name, pd.DataFrame({"metric": ["f1"]}))

    def test_only_results_pages_models_of_folds_and_the_history_of_the_final_one_leave_a_box(self):
        declared, pipelines = pipelines_of("base")
        study = pipelines["__default__"]
        for experiment in declared.study.experiments:
            inside = study.filter(node_namespaces=[experiment])
            outside = study - inside
            crossing = {f"{experiment}.results", f"{experiment}.summary"}
            assert inside.all_outputs() & outside.all_inputs() == crossing
            pages = {f"{experiment}.misclassifications_{method}" for method in ("cosine", "dbscan")}
            is_trained = declared.experiments[experiment].is_trained
            folds = {f"{experiment}.fold_{fold}.checkpoint" for fold in declared.study.folds}
            made = {*folds, f"{experiment}.final.history"} if is_trained else set()
            assert inside.outputs() - crossing == pages | made, "Kedro-Viz draws every unused output outside the box"

    @pytest.mark.parametrize("env", ENVIRONMENTS)
    @pytest.mark.parametrize("changes", [{}, COMBINED_AND_VERIFIED], ids=["as it is", "with a combination"])
    def test_layers_form_no_circle(self, env, changes):
        """Kedro-Viz would draw none of them."""
        pipelines = build_pipelines(parameters(env, **changes)) if changes else pipelines_of(env)[1]
        order = layers(pipelines["__default__"])
        assert (order[0], order[-1]) == ("raw", "reporting")

    @pytest.mark.parametrize(
        "model",
        [
            {},
            {"experiment": "vit_baseline"},
            {"experiment": "vit_triplet", "fold": 0},
            {"experiment": "resnet_triplet", "fold": 0},
            {"experiment": "both"},
        ],
    )
    def test_layers_of_cluster_images_form_no_circle_whatever_the_model(self, model):
        clustering = build_pipelines(parameters(cluster=model, experiments=COMBINED))["cluster_images"]
        assert layers(clustering)[-1] == "reporting"

    def test_layers_of_every_pipeline_form_no_circle(self):
        for name, pipeline in build_pipelines(parameters(study={"folds": 0})).items():
            assert set(layers(pipeline)) <= set(LAYERS), name

    def test_collapsed_the_study_is_one_box_per_experiment_between_data_and_report(self):
        declared, pipelines = pipelines_of()
        study = pipelines["__default__"]
        boxes = {node.namespace.split(".")[0] for node in study.nodes if node.namespace}
        stages = {"sample_data", "data_split", "baseline_embeddings", "report", "cluster_images"}
        assert boxes - {*declared.running} == stages
        assert len([node for node in study.nodes if not node.namespace]) <= 1  # thumbnails, for every experiment's page

    @pytest.mark.parametrize(
        ("changes", "is_grouped"),
        [
            ({}, True),
            ({"sample": {"n_unlabelled": 0}}, False),
            ({"study": {"sample_data": False}}, False),
            ({"study": {"experiments": "vit_baseline"}}, False),
        ],
    )
    def test_a_study_groups_the_unlabelled_photographs_that_it_makes(self, changes, is_grouped):
        study = build_pipelines(parameters(**changes))["__default__"]
        assert ("clusters_page" in study.outputs()) == is_grouped

    def test_every_node_is_tagged_with_its_stage(self):
        """The boxes of a study are its experiments; stages are told apart by tag."""
        _, pipelines = pipelines_of()
        stages = {"data_split", "baseline_embeddings", "metric_learning", "evaluation", "final_model"}
        for stage in stages:
            tagged = pipelines["__default__"].only_nodes_with_tags(stage)
            assert {node.name for node in tagged.nodes} == {node.name for node in pipelines[stage].nodes}
        assert all(stages & node.tags for node in pipelines["vit_triplet"].nodes if "sample_data" not in node.name)

    def test_thumbnails_are_shared_and_made_only_for_a_test_subset(self):
        study = small_study(experiments="vit_baseline+vit_triplet+resnet_infonce")
        assert len([node for node in study.nodes if "thumbnails" in node.outputs]) == 1
        without = build_pipelines(parameters("base", split={"use_train_test_split": False}))["__default__"]
        assert not [name for name in without.datasets() if "thumbnails" in name or "misclassifications" in name]

    def test_nodes_receive_typed_parameters(self):
        """A model imported under TYPE_CHECKING would silently arrive as a dict."""
        bootstrap_project(REPOSITORY)
        with KedroSession.create(project_path=REPOSITORY, env="demo") as session:
            catalog = session.load_context().catalog
            study = pipelines_of()[1]["__default__"]
            blocks = {name for name in study.inputs() if name.startswith("params:")}
            plain = {name for name in blocks if not isinstance(catalog.load(name), BaseModel)}
        numbers = (
            *("seed", "memory.tile_megabytes", "training.canvas", "cuts.max_group_size"),
            *("report.thumbnail", "report.max_pairs", "report.max_drawings", "report.max_megabytes"),
            *("study.sample_data", "cluster.images", "evaluation.pool_correction", "data.max_images_per_lesion"),
        )
        assert plain == {f"params:{name}" for name in numbers}


class TestCommandsAgree:
    @pytest.mark.parametrize("env", ENVIRONMENTS)
    def test_run_viz_and_registry_see_the_same_graph(self, env):
        from kedro_viz.integrations.kedro.data_loader import load_data

        shown = load_data(REPOSITORY, env=env)[1]
        _, registered = pipelines_of(env)
        assert shown.keys() == registered.keys()
        for name, pipeline in registered.items():
            assert {node.name for node in shown[name].nodes} == {node.name for node in pipeline.nodes}

    def test_registry_list_reads_the_environment_from_kedro_env_and_never_imports_torch(self, monkeypatch):
        monkeypatch.setenv("KEDRO_ENV", "demo")
        script = (
            "import sys; from kedro.framework.cli.cli import main\n"
            "sys.argv = ['kedro', 'registry', 'list']\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "print([m for m in ('torch', 'timm', 'sklearn', 'pandera', 'matplotlib') if m in sys.modules])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        assert "- vit_baseline" in ended.stdout
        assert ended.stdout.strip().endswith("[]")
