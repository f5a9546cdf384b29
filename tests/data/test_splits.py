"""The rule that Skinbit exists for: no lesion is ever in two subsets or two folds, whatever the table."""

import logging
import re
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from skinbit.config import SplitParams
from skinbit.data.splits import (
    TEST,
    TEST_FOLD,
    TRAIN,
    check_pairs,
    choose_distractors,
    choose_lesions,
    split_lesions,
)
from skinbit.errors import InputError
from skinbit.runtime.schemas import Split

VALUES = ["", "nv", "mel", "back", "(other)", "NA"]


def make_images(strata: list[str], n_images: list[int] | None = None) -> pd.DataFrame:
    """Return a table of lesions ``L0…``, two images each unless told, with ``dx`` from ``strata``."""
    counts = [2] * len(strata) if n_images is None else n_images
    rows = [(f"L{i}", value) for i, value in enumerate(strata) for _ in range(counts[i])]
    table = pd.DataFrame(rows, columns=["lesion_id", "dx"], dtype="str")
    return table.assign(image_id=[f"I{row}" for row in range(len(rows))])


def assert_every_image_is_dealt_once(images: pd.DataFrame, split: pd.DataFrame) -> None:
    assert split["image_id"].tolist() == images["image_id"].tolist()
    assert split["lesion_id"].tolist() == images["lesion_id"].tolist()
    assert split["image_id"].is_unique


def assert_no_lesion_is_in_two_places(split: pd.DataFrame) -> None:
    assert (split.groupby("lesion_id")["subset"].nunique() == 1).all()
    assert (split.groupby("lesion_id")["fold"].nunique() == 1).all()


def assert_folds_cover_all_training_lesions(split: pd.DataFrame, n_folds: int) -> None:
    assert set(split["subset"]) <= {TRAIN, TEST}
    assert ((split["subset"] == TEST) == (split["fold"] == TEST_FOLD)).all()
    assert set(split.loc[split["subset"] == TRAIN, "fold"]) == set(range(n_folds))


def assert_split_is_sound(images: pd.DataFrame, split: pd.DataFrame, params: SplitParams) -> None:
    assert_every_image_is_dealt_once(images, split)
    assert_no_lesion_is_in_two_places(split)
    assert_folds_cover_all_training_lesions(split, params.n_folds)
    assert (TEST in set(split["subset"])) == params.use_train_test_split


def fold_of(split: pd.DataFrame) -> dict[str, int]:
    return dict(zip(split["lesion_id"], split["fold"], strict=True))


def lesions_per_fold(split: pd.DataFrame) -> pd.Series:
    return split.groupby("fold")["lesion_id"].nunique()


@st.composite
def image_tables(draw: st.DrawFn) -> pd.DataFrame:
    """Draw lesions of 1 to 5 images; images of one lesion may disagree about ``dx``; rows come in any order."""
    n_images = draw(st.lists(st.integers(1, 5), min_size=2, max_size=60))
    lesion_ids = [f"L{i}" for i, n in enumerate(n_images) for _ in range(n)]
    values = draw(st.lists(st.sampled_from(VALUES), min_size=len(lesion_ids), max_size=len(lesion_ids)))
    table = pd.DataFrame({"lesion_id": lesion_ids, "dx": values}, dtype="str")
    table["image_id"] = [f"I{row}" for row in range(len(table))]
    n_patients = draw(st.integers(1, 40))
    table["patient_id"] = [f"{row * 7 % n_patients or ''}" for row in range(len(table))]
    table["rare"] = [value or f"only here {row}" for row, value in enumerate(values)]
    return table.sample(frac=1, random_state=draw(st.integers(0, 99)))


@st.composite
def split_params(draw: st.DrawFn) -> SplitParams:
    return SplitParams(
        n_folds=draw(st.integers(2, 8)),
        use_train_test_split=draw(st.booleans()),
        test_fraction=draw(st.sampled_from([0.05, 0.1, 0.2, 1 / 3, 0.5, 0.7, 0.9])),
        stratify_by=draw(st.sampled_from([None, "dx", "rare", "image_id", "lesion_id"])),
        keep_together=draw(st.sampled_from([None, None, "patient_id", "lesion_id", "dx", "image_id"])),
    )


def split_or_skip(images: pd.DataFrame, params: SplitParams, seed: int) -> pd.DataFrame:
    try:
        return split_lesions(images, params, seed)
    except InputError:  # too few lesions: tested below
        assume(False)
        raise


@given(image_tables(), split_params(), st.integers(0, 2**32 - 1))
def test_every_split_of_every_table_is_sound(images: pd.DataFrame, params: SplitParams, seed: int) -> None:
    split = split_or_skip(images, params, seed)
    assert_split_is_sound(images, split, params)
    Split.validate(split)


@given(image_tables(), split_params(), st.integers(0, 99))
def test_order_of_rows_is_irrelevant(images: pd.DataFrame, params: SplitParams, seed: int) -> None:
    split = split_or_skip(images, params, seed)
    assert fold_of(split) == fold_of(split_lesions(images.iloc[::-1], params, seed))


@given(st.lists(st.sampled_from(VALUES), min_size=30, max_size=80), st.integers(2, 5))
def test_folds_are_of_equal_size_with_and_without_strata(strata: list[str], n_folds: int) -> None:
    for column in (None, "dx"):
        params = SplitParams(n_folds=n_folds, use_train_test_split=False, stratify_by=column)
        sizes = lesions_per_fold(split_lesions(make_images(strata), params, 0))
        assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize("column", [None, "dx"])
def test_same_seed_gives_the_same_split_and_another_seed_another(column: str | None) -> None:
    images, params = make_images(["nv", "mel"] * 30), SplitParams(stratify_by=column)
    first, again, other = (fold_of(split_lesions(images, params, seed)) for seed in (42, 42, 43))
    assert first == again
    assert first != other


def test_split_does_not_touch_the_global_generator() -> None:
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    split_lesions(make_images(["nv", "mel"] * 30), SplitParams(stratify_by="dx"), 42)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize(("n_lesions", "n_test"), [(10, 2), (11, 3), (100, 20)])
def test_test_subset_has_its_share_of_lesions_rounded_up(n_lesions: int, n_test: int) -> None:
    split = split_lesions(make_images(["nv"] * n_lesions), SplitParams(), 42)
    assert lesions_per_fold(split)[TEST_FOLD] == n_test


def test_stratification_gives_every_fold_and_the_test_subset_its_share_of_each_value() -> None:
    images = make_images(["nv"] * 100 + ["mel"] * 50 + ["bcc"] * 25)
    split = split_lesions(images, SplitParams(stratify_by="dx"), 42).assign(dx=images["dx"])
    lesions = split.drop_duplicates("lesion_id").groupby(["fold", "dx"]).size().unstack(fill_value=0)
    assert lesions.loc[TEST_FOLD].to_dict() == {"nv": 20, "mel": 10, "bcc": 5}
    assert lesions.drop(TEST_FOLD).to_dict("records") == [{"nv": 16, "mel": 8, "bcc": 4}] * 5


@given(st.lists(st.sampled_from(["nv", "mel", "bcc"]), min_size=60, max_size=120), st.integers(0, 9))
def test_each_fold_holds_its_share_of_each_value_within_one_lesion(strata: list[str], seed: int) -> None:
    counts = Counter(strata)
    assume(min(counts.values()) >= 5)
    images = make_images(strata)
    params = SplitParams(stratify_by="dx", use_train_test_split=False)
    split = split_lesions(images, params, seed).assign(dx=images["dx"])
    held = split.drop_duplicates("lesion_id").groupby(["fold", "dx"]).size().unstack(fill_value=0)
    assert all(abs(held[value] - n / 5).max() <= 1 for value, n in counts.items())


def test_most_frequent_value_counts_where_images_of_a_lesion_disagree(caplog: pytest.LogCaptureFixture) -> None:
    images = pd.concat([make_images(["nv"] * 20, [3] * 20), make_images(["mel"] * 20)[::2]])
    params = SplitParams(stratify_by="dx", use_train_test_split=False)
    unanimous = split_lesions(make_images(["nv"] * 20), params, 42)
    assert fold_of(split_lesions(images, params, 42)) == fold_of(unanimous)
    assert not caplog.records


def test_small_strata_are_merged_with_a_warning_that_names_them(caplog: pytest.LogCaptureFixture) -> None:
    images = make_images(["nv"] * 40 + ["df"] * 4 + [""] * 4)
    params = SplitParams(stratify_by="dx", use_train_test_split=False)
    with caplog.at_level(logging.WARNING):
        split = split_lesions(images, params, 42)
    assert "stratifying by dx: fewer than 5 lesions each have the values (blank), df" in caplog.text
    merged = split[images["dx"] != "nv"].drop_duplicates("lesion_id")["fold"].value_counts()
    assert sorted(merged) == [1, 1, 2, 2, 2]


def test_large_strata_give_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    split = split_lesions(make_images(["nv"] * 40 + ["mel"] * 40), SplitParams(stratify_by="dx"), 42)
    assert len(split) == 160
    assert not caplog.records


@pytest.mark.parametrize(
    ("n_lesions", "params"),
    [
        (4, SplitParams(use_train_test_split=False)),
        (6, SplitParams()),
        (0, SplitParams()),
        (6, SplitParams(stratify_by="dx")),
    ],
)
def test_fewer_training_lesions_than_folds_are_refused(n_lesions: int, params: SplitParams) -> None:
    with pytest.raises(InputError, match=f"{n_lesions} lesions are too few.*split.n_folds is 5"):
        split_lesions(make_images(["nv"] * n_lesions), params, 42)


@pytest.mark.parametrize(("n_lesions", "use_test"), [(5, False), (7, True)])
def test_as_many_training_lesions_as_folds_are_enough(n_lesions: int, use_test: bool) -> None:
    images, params = make_images(["nv"] * n_lesions), SplitParams(use_train_test_split=use_test)
    assert_split_is_sound(images, split_lesions(images, params, 42), params)


def test_missing_column_is_refused_and_the_columns_are_named() -> None:
    with pytest.raises(InputError, match=r"'site'.*its columns are: lesion_id, dx, image_id"):
        split_lesions(make_images(["nv"] * 10), SplitParams(stratify_by="site"), 42)


@pytest.fixture(scope="module")
def split_of_60() -> pd.DataFrame:
    return split_lesions(make_images(["nv"] * 60), SplitParams(), 42)


@pytest.mark.parametrize("n_lesions", [1, 6, 30, 31, 59])
def test_as_many_lesions_are_chosen_as_asked_for(split_of_60: pd.DataFrame, n_lesions: int) -> None:
    chosen = choose_lesions(split_of_60, n_lesions, 42)
    assert len(chosen) == n_lesions
    assert chosen < set(split_of_60["lesion_id"])


def test_all_lesions_are_chosen_where_there_are_fewer(split_of_60: pd.DataFrame) -> None:
    assert choose_lesions(split_of_60, 100, 42) == set(split_of_60["lesion_id"])


@pytest.mark.parametrize("n_lesions", [6, 20, 30])
def test_choice_is_even_over_folds_and_test_subset(split_of_60: pd.DataFrame, n_lesions: int) -> None:
    chosen = split_of_60[split_of_60["lesion_id"].isin(choose_lesions(split_of_60, n_lesions, 42))]
    sizes = lesions_per_fold(chosen)
    assert set(sizes.index) == {TEST_FOLD, 0, 1, 2, 3, 4}
    assert sizes.max() - sizes.min() <= 1


def test_choice_depends_on_the_seed_and_not_on_the_order_of_rows(split_of_60: pd.DataFrame) -> None:
    chosen = choose_lesions(split_of_60, 12, 42)
    assert chosen == choose_lesions(split_of_60.iloc[::-1], 12, 42)
    assert chosen != choose_lesions(split_of_60, 12, 43)


def test_larger_choice_contains_the_smaller(split_of_60: pd.DataFrame) -> None:
    assert choose_lesions(split_of_60, 10, 42) < choose_lesions(split_of_60, 20, 42)


class TestDistractors:
    IMAGES = pd.DataFrame(
        [("a1", "A"), ("a2", "A"), *((f"s{n}", f"S{n}") for n in range(9)), ("x", ""), ("y", "")],
        columns=["image_id", "lesion_id"],
    )

    def test_are_lesions_of_one_image_and_never_blank_ones(self):
        found = choose_distractors(self.IMAGES, None, seed=1)
        assert found["image_id"].tolist() == [f"s{n}" for n in range(9)]

    @given(st.integers(1, 9), st.permutations(range(13)))
    def test_the_choice_depends_on_ids_and_seed_alone(self, number, order):
        shuffled = self.IMAGES.iloc[list(order)]
        chosen = choose_distractors(self.IMAGES, number, seed=4)
        assert len(chosen) == number
        assert set(choose_distractors(shuffled, number, seed=4)["image_id"]) == set(chosen["image_id"])

    def test_more_are_chosen_beside_fewer(self):
        few, more = (set(choose_distractors(self.IMAGES, number, seed=4)["image_id"]) for number in (3, 6))
        assert few < more

    def test_more_than_there_are_are_an_error_that_says_how_many(self):
        with pytest.raises(InputError, match=r"asks for 10 singleton lesions; the metadata have 9\."):
            choose_distractors(self.IMAGES, 10, seed=1)

    def test_none_at_all_is_an_error_too(self):
        with pytest.raises(InputError, match="asks for all singleton lesions; the metadata have 0"):
            choose_distractors(self.IMAGES[:2], None, seed=1)


def test_subsets_without_two_images_of_one_lesion_are_named() -> None:
    split = pd.DataFrame({"lesion_id": ["a", "a", "b", "c"], "fold": [0, 0, 1, TEST_FOLD]})
    assert check_pairs(split) == ["test", "fold 1"]
    assert check_pairs(split.iloc[:2]) == []


def test_pairs_of_the_test_subset_alone_are_not_enough() -> None:
    with pytest.raises(InputError, match="no pair to find"):
        check_pairs(pd.DataFrame({"lesion_id": ["a", "a", "b"], "fold": [TEST_FOLD, TEST_FOLD, 0]}))


@st.composite
def patients(draw: st.DrawFn) -> pd.DataFrame:
    """Draw lesions of patients, who have 1 to 6 each; a blank is an unknown patient."""
    n_lesions = draw(st.lists(st.integers(1, 6), min_size=8, max_size=30))
    patient_of = [f"P{patient}" for patient, n in enumerate(n_lesions) for _ in range(n)]
    known = draw(st.lists(st.booleans(), min_size=len(patient_of), max_size=len(patient_of)))
    table = make_images(draw(st.lists(st.sampled_from(VALUES), min_size=len(patient_of), max_size=len(patient_of))))
    return table.assign(patient_id=np.repeat(np.where(known, patient_of, ""), 2))


@given(patients(), st.booleans(), st.sampled_from([None, "dx"]), st.integers(0, 99))
def test_lesions_that_share_a_value_are_kept_together(
    images: pd.DataFrame, use_test: bool, column: str | None, seed: int
) -> None:
    params = SplitParams(use_train_test_split=use_test, stratify_by=column, keep_together="patient_id")
    split = split_lesions(images, params, seed)
    assert_split_is_sound(images, split, params)
    known = images["patient_id"] != ""
    assert (split[known].groupby(images["patient_id"])["fold"].nunique() == 1).all()


def test_lesions_of_many_images_are_kept_together() -> None:
    """As many rows as a byte can count must not cancel each other."""
    images = make_images(["nv"] * 40, [256, 256, *[2] * 38]).assign(patient_id="")
    images.loc[:511, "patient_id"] = "P0"
    for seed in range(5):
        folds = fold_of(split_lesions(images, SplitParams(keep_together="patient_id"), seed))
        assert folds["L0"] == folds["L1"]


def test_lesions_are_kept_together_by_a_chain_of_shared_values() -> None:
    """An image of L1 belongs to the patient of L0, another one to that of L2."""
    images = make_images(["nv"] * 40).assign(patient_id="")
    images.loc[[0, 2, 3, 4], "patient_id"] = ["P0", "P0", "P1", "P1"]
    for seed in range(10):
        folds = fold_of(split_lesions(images, SplitParams(keep_together="patient_id"), seed))
        assert folds["L0"] == folds["L1"] == folds["L2"]


def test_what_is_dealt_again_later_is_not_told_yet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    images = make_images(["nv"] * 40 + ["df"]).assign(patient_id=[str(row // 4) for row in range(82)])
    params = SplitParams(stratify_by="dx", keep_together="patient_id")
    drafted = split_lesions(images, params, 42, is_draft=True)
    assert caplog.text == ""
    assert split_lesions(images, params, 42).equals(drafted)
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "kept together by patient_id",
        "stratifying by dx",
    ]


def test_an_unknown_patient_keeps_nothing_together() -> None:
    images = make_images(["nv"] * 40)
    known = images.assign(patient_id="")
    unknown = images.assign(patient_id=["nan", "NULL", "n/a", "-"] * 20)
    params = SplitParams(keep_together="patient_id")
    assert split_lesions(unknown, params, 42).equals(split_lesions(known, params, 42))


def test_patients_of_equal_size_are_dealt_as_evenly_as_lesions() -> None:
    images = make_images(["nv"] * 60 + ["mel"] * 60)
    images = images.assign(patient_id=images["lesion_id"].str[1:].astype(int) // 3)
    params = SplitParams(keep_together="patient_id", stratify_by="dx")
    split = split_lesions(images.astype({"patient_id": "str"}), params, 42).assign(dx=images["dx"])
    held = split.drop_duplicates("lesion_id").groupby(["fold", "dx"]).size().unstack(fill_value=0)
    assert held.loc[TEST_FOLD].to_dict() == {"nv": 12, "mel": 12}
    assert (held.drop(TEST_FOLD) - 9.6).abs().max().max() <= 3


@pytest.mark.parametrize("seed", range(4))
def test_of_two_strata_the_test_subset_has_its_share_of_each(seed: int) -> None:
    images = make_images(["nv"] * 30 + ["mel"] * 20)
    split = split_lesions(images, SplitParams(stratify_by="dx", test_fraction=0.2), seed)
    is_test = split["subset"] == TEST
    assert images.loc[is_test, "dx"].value_counts().to_dict() == {"nv": 2 * 6, "mel": 2 * 4}


@pytest.mark.parametrize("seed", range(3))
def test_bundles_are_dealt_largest_first_in_random_order_each_to_the_part_that_lacks_most(seed: int) -> None:
    """Of equal bundles the shuffle decides, of equal parts the first; so a seed gives the same split everywhere."""
    sizes = [1 + number % 3 for number in range(40)]
    patient_of = np.repeat(np.arange(40), sizes)
    images = make_images(["nv"] * len(patient_of)).assign(
        patient_id=[f"P{patient:02}" for patient in patient_of for _ in "12"]
    )
    params = SplitParams(keep_together="patient_id", n_folds=3, test_fraction=0.25)
    folds = fold_of(split_lesions(images, params, seed))
    lesions = sorted(folds)
    bundles = list(dict.fromkeys(patient_of[int(lesion[1:])] for lesion in lesions))  # numbered by their first lesion
    shuffled = [bundles[place] for place in np.random.default_rng(seed).permutation(40)]
    n_test = int(np.ceil(0.25 * len(lesions)))
    lacking = {TEST_FOLD: float(n_test), **dict.fromkeys(range(3), (len(lesions) - n_test) / 3)}
    dealt = {}
    for bundle in sorted(shuffled, key=lambda bundle: -sizes[bundle]):
        dealt[bundle] = max(lacking, key=lacking.__getitem__)
        lacking[dealt[bundle]] -= sizes[bundle]
    assert {lesion: dealt[patient_of[int(lesion[1:])]] for lesion in lesions} == folds


def test_rare_strata_join_a_stratum_that_is_just_large_enough() -> None:
    params = SplitParams(stratify_by="dx", use_train_test_split=False)
    images = make_images(["nv"] * 5 + ["df"] * 2 + ["mel"])
    split = split_lesions(images, params, 42)
    assert_split_is_sound(images, split, params)
    assert sorted(lesions_per_fold(split)) == [1, 1, 2, 2, 2]


def test_as_many_bundles_as_parts_leave_none_empty_though_one_part_lacks_most() -> None:
    """The test subset lacks 40 of 50 lesions, so the two largest bundles would both be its own."""
    images = make_images(["nv"] * 50).assign(patient_id=np.repeat(["P0", "P1", "P2"], [40, 40, 20]))
    params = SplitParams(keep_together="patient_id", n_folds=2, test_fraction=0.8)
    split = split_lesions(images, params, 42)
    assert_split_is_sound(images, split, params)
    assert lesions_per_fold(split)[TEST_FOLD] == 20


@pytest.mark.parametrize(("n_folds", "test_fraction", "least"), [(5, 0.2, 8), (5, 0.1, 10), (3, 0.5, 7)])
def test_a_stratum_has_a_lesion_for_every_fold_and_for_the_test_subset(
    n_folds: int, test_fraction: float, least: int, caplog: pytest.LogCaptureFixture
) -> None:
    params = SplitParams(stratify_by="dx", n_folds=n_folds, test_fraction=test_fraction)
    images = make_images(["nv"] * 40 + ["mel"] * least + ["df"] * (least - 1) + ["bcc"] * (least - 1))
    split = split_lesions(images, params, 42)
    assert f"fewer than {least} lesions each have the values bcc, df; they" in caplog.text
    for stratum in ("nv", "mel"):
        assert set(split.loc[images["dx"] == stratum, "fold"]) == {TEST_FOLD, *range(n_folds)}


def test_a_bundle_larger_than_a_fold_leaves_no_fold_empty() -> None:
    images = make_images(["nv"] * 50)
    one_clinic = images.assign(clinic=np.where(images["lesion_id"].str[1:].astype(int) < 44, "A", ""))
    split = split_lesions(one_clinic, SplitParams(keep_together="clinic"), 42)
    assert_split_is_sound(images, split, SplitParams())


def test_the_seed_decides_how_bundles_are_dealt() -> None:
    images = make_images(["nv"] * 60).assign(patient_id=[f"P{row // 6}" for row in range(120)])
    first, again, other = (
        fold_of(split_lesions(images, SplitParams(keep_together="patient_id"), seed)) for seed in (42, 42, 43)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("site", "split.keep_together names the column 'site'.*split.keep_together=null"),
        ("dx", "split.keep_together=dx leaves 1 bundles of lesions, but folds and test subset need 6"),
    ],
)
def test_what_cannot_be_kept_together_is_refused(column: str, said: str) -> None:
    with pytest.raises(InputError, match=re.compile(said, re.DOTALL)):
        split_lesions(make_images(["nv"] * 40), SplitParams(keep_together=column), 42)
