"""Patches follow their keypoints; a network learns to tell them apart; the benchmark judges both kinds."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from benchmarks import learned_descriptors
from benchmarks.learned_descriptors import (
    N_CUTS,
    SIDE,
    Cut,
    PatchNetwork,
    Photographs,
    as_input,
    cut_out,
    cut_places,
    describe,
    learn,
    plain_cut,
    redescribe,
    relit,
    shaken,
)
from benchmarks.stored import read_keypoints
from skinbit.matching.keypoints import NO_KEYPOINTS
from skinbit.matching.similarity import Shortlist


def photograph(height=90, width=120, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def cut_at(x, y, side, angle=0.0, octave=0):
    return Cut(np.array([[x, y]], float), np.array([side], float), np.array([angle], float), np.array([octave]))


def test_a_patch_of_its_own_size_is_the_photograph_around_its_place():
    pixels = photograph()
    (patch,) = cut_out(pixels, cut_at(40.5, 50.5, SIDE))
    np.testing.assert_array_equal(patch, pixels[35:67, 25:57])


@pytest.mark.parametrize("octave", [0, 1])
def test_a_turned_photograph_gives_the_same_patch_at_the_turned_place(octave):
    pixels = photograph(96, 96)
    turned = np.rot90(pixels, -1)  # clockwise: (x, y) becomes (95 - y, x)
    (plain,) = cut_out(pixels, cut_at(40, 44, 40, 20, octave))
    (other,) = cut_out(turned.copy(), cut_at(95 - 44, 40, 40, 110, octave))
    np.testing.assert_allclose(plain.astype(int), other.astype(int), atol=2 if octave == 0 else 12)


def test_a_photograph_twice_as_large_gives_nearly_the_same_patch():
    small, large = photograph(), photograph(180, 240)
    (patch,) = cut_out(small, cut_at(60, 45, 40))
    (of_large,) = cut_out(large, cut_at(120.5, 90.5, 80, octave=1))
    assert np.abs(patch.astype(int) - of_large.astype(int)).mean() < 4


def test_large_keypoints_are_looked_at_from_farther_away():
    assert plain_cut(NO_KEYPOINTS).octaves.tolist() == []
    table = np.array([2.0, 5.3, 5.4, 10.7, 30.0])
    keypoints = type(NO_KEYPOINTS)(np.zeros((5, 2)), table, np.zeros(5), np.zeros((5, 128)), (300, 225))
    assert plain_cut(keypoints).octaves.tolist() == [0, 0, 0, 1, 2]


def test_a_shaken_cut_stays_near_its_place():
    cut = cut_at(50, 40, 30)
    for seed in range(50):
        moved = shaken(cut, np.random.default_rng(seed))
        assert np.abs(moved.positions - cut.positions).max() < 5
        assert 0.8 <= moved.sides[0] / cut.sides[0] <= 1.25
        assert abs(moved.angles[0]) <= 20
        assert moved.octaves[0] in (0, 1)


def test_descriptors_are_bytes_that_ignore_light():
    network = PatchNetwork(1).eval()
    patches = np.stack([photograph(SIDE, SIDE, seed) // 3 for seed in range(6)])
    found, brighter = describe(network, patches), describe(network, patches * 2 + 30)
    assert found.dtype == np.uint8
    assert found.shape == (6, 128)
    assert np.abs(found.astype(int) - brighter.astype(int)).max() <= 8
    assert describe(network, patches[:0]).shape == (0, 128)


def test_the_colour_of_a_patch_as_a_whole_does_not_count_and_its_texture_counts_in_full():
    seen = []
    network = PatchNetwork(3).eval()
    network.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    texture = np.random.default_rng(0).normal(0, 5, (2, SIDE, SIDE, 3))
    for colour in ((128, 128, 128), (200, 150, 120)):
        describe(network, np.clip(np.array(colour) + texture, 0, 255).astype(np.uint8))
    for inputs in seen:
        assert inputs.mean(dim=(2, 3)).abs().max() < 1e-5
        assert inputs.std(dim=(1, 2, 3)).tolist() == pytest.approx([5 / 6] * 2, abs=0.05)


def test_relit_patches_keep_their_shape_and_most_of_their_texture():
    patches = np.stack([photograph(SIDE, SIDE, seed) for seed in range(6)])
    changed = relit(patches, np.random.default_rng(0))
    assert (changed.shape, changed.dtype) == (patches.shape, np.uint8)
    for one, other in zip(patches, changed, strict=True):
        assert 0.9 < np.corrcoef(one.ravel(), other.ravel())[0, 1] < 1


def test_a_network_learns_to_find_places_again_on_other_photographs(archive, monkeypatch):
    monkeypatch.setattr(learned_descriptors, "EPOCHS", 5)
    monkeypatch.setattr(learned_descriptors, "BATCH", 60)
    photographs = Photographs(archive.folder, is_grey=True)
    alone, others = (read_keypoints(archive.root, name) for name in ("distractor_keypoints", "keypoints"))
    cuts, unseen = cut_places(alone, photographs), cut_places(others, photographs)
    assert cuts.shape[1:] == (N_CUTS, SIDE, SIDE)

    def share_found(network):
        with torch.inference_mode():
            first, second = (network(as_input(unseen[:, n])) for n in (0, 1))
        return float(((first @ second.T).argmax(dim=1) == torch.arange(len(unseen))).float().mean())

    untrained, trained = PatchNetwork(1).eval(), learn(cuts, "test").eval()
    assert share_found(trained) > share_found(untrained) + 0.05
    again = learn(cuts, "test")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())


def test_described_anew_keypoints_keep_their_places_and_their_photographs(archive):
    table = read_keypoints(archive.root)
    photographs, network = Photographs(archive.folder, is_grey=False), PatchNetwork(3).eval()
    described = redescribe(table, photographs, network)
    np.testing.assert_array_equal(described.positions, table.positions)
    assert described.descriptors.shape == table.descriptors.shape
    for row in (0, len(table.image_ids) - 1):
        keypoints = table.at(row)
        pixels = photographs.read(table.image_ids[row], keypoints.size, 300)
        by_hand = describe(network, cut_out(pixels, plain_cut(keypoints)))
        np.testing.assert_allclose(described.at(row).descriptors.astype(int), by_hand.astype(int), atol=1)


def run(archive, out, monkeypatch, *arguments):
    places = ("--root", str(archive.root), "--photographs", str(archive.photographs), "--out", str(out))
    monkeypatch.setattr("sys.argv", ["", *places, *arguments])
    learned_descriptors.main()


def test_the_table_holds_sift_and_what_was_learned_and_a_second_run_learns_nothing(
    archive, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(learned_descriptors, "EPOCHS", 1)
    monkeypatch.setattr(learned_descriptors, "RATIOS", (0.9,))
    run(archive, tmp_path, monkeypatch, "--experiments", "one", "--colours", "grey")
    first = capsys.readouterr().out.splitlines()
    for title in ("one: SIFT, ratio 0.9", "one: learned, grey, ratio 0.9", "one: learned, grey, ratio 0.9, and SIFT"):
        assert any(line.startswith(f"| {title} |") for line in first)
    with monkeypatch.context() as patched:
        patched.setattr(learned_descriptors, "learn", lambda *_: pytest.fail("learned again"))
        run(archive, tmp_path, patched, "--experiments", "one", "--colours", "grey")
        tables = [
            [line for line in lines if line.startswith("|")] for lines in (first, capsys.readouterr().out.splitlines())
        ]
        assert tables[0] == tables[1]
    monkeypatch.setattr(learned_descriptors, "EPOCHS", 2)
    run(archive, tmp_path, monkeypatch, "--experiments", "one", "--colours", "grey")
    assert len(list(tmp_path.glob("grey_*.safetensors"))) == 2


def test_inliers_of_other_pairs_are_not_added_up():
    one, other = (Shortlist(np.array(pairs), np.array([1])) for pairs in ([[0, 1]], [[0, 2]]))
    assert learned_descriptors._added(one, one).inliers.tolist() == [2]
    with pytest.raises(ValueError, match="other pairs"):
        learned_descriptors._added(one, other)


def test_a_study_without_keypoints_ends_in_a_message(archive, tmp_path, monkeypatch):
    (tmp_path / "07_model_output").symlink_to(archive.root / "07_model_output")
    with pytest.raises(SystemExit, match=r"keypoints.safetensors is missing. Remedy: a study that verifies pairs"):
        run(replace(archive, root=tmp_path), tmp_path, monkeypatch, "--experiments", "one")


def test_other_photographs_than_the_studys_end_in_a_message(archive, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"lacks \d+ photographs of the study.* Remedy: --photographs"):
        run(replace(archive, photographs=tmp_path), tmp_path, monkeypatch, "--experiments", "one")
