"""Patches follow their keypoints; a network learns to tell them apart; the benchmark judges both kinds."""

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
    shaken,
)
from skinbit.datasets.keypoints import KeypointsDataset
from skinbit.matching.keypoints import NO_KEYPOINTS


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


def test_a_network_learns_to_find_a_place_again(archive, monkeypatch):
    monkeypatch.setattr(learned_descriptors, "EPOCHS", 5)
    monkeypatch.setattr(learned_descriptors, "BATCH", 60)
    table = KeypointsDataset(filepath=f"{archive.root}/04_feature/distractor_keypoints.safetensors").load()
    cuts = cut_places(table, Photographs(archive.folder, is_grey=True))
    assert cuts.shape[1:] == (N_CUTS, SIDE, SIDE)

    def share_found(network):
        with torch.inference_mode():
            first, second = (network(as_input(cuts[:, n])) for n in (0, 1))
        return float(((first @ second.T).argmax(dim=1) == torch.arange(len(cuts))).float().mean())

    untrained, trained = PatchNetwork(1).eval(), learn(cuts, "test")
    assert share_found(trained) > share_found(untrained) + 0.1
    again = learn(cuts, "test")
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())


def test_described_anew_keypoints_keep_their_places(archive):
    table = KeypointsDataset(filepath=f"{archive.root}/04_feature/keypoints.safetensors").load()
    described = redescribe(table, Photographs(archive.folder, is_grey=False), PatchNetwork(3).eval())
    np.testing.assert_array_equal(described.positions, table.positions)
    assert described.descriptors.shape == table.descriptors.shape
    assert (described.descriptors != table.descriptors).any()


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
    monkeypatch.setattr(learned_descriptors, "learn", lambda *_: pytest.fail("learned again"))
    run(archive, tmp_path, monkeypatch, "--experiments", "one", "--colours", "grey")
    assert [line for line in first if line.startswith("|")] == [
        line for line in capsys.readouterr().out.splitlines() if line.startswith("|")
    ]
    for title in ("one: SIFT", "one: learned, grey, ratio 0.9", "one: learned, grey, ratio 0.9, and SIFT"):
        assert any(line.startswith(f"| {title} |") for line in first)


def test_a_study_without_keypoints_ends_in_a_message(archive, tmp_path, monkeypatch):
    (tmp_path / "07_model_output").symlink_to(archive.root / "07_model_output")
    monkeypatch.setattr(
        "sys.argv", ["", "--root", str(tmp_path), "--photographs", "x", "--out", "y", "--experiments=one"]
    )
    with pytest.raises(SystemExit, match=r"keypoints.safetensors is missing. Remedy: a study that verifies pairs"):
        learned_descriptors.main()
