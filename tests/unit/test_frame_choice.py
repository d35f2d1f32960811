"""Which frames of an exploration get a label."""

from __future__ import annotations

import numpy as np

from vibraloom.calculators.frame_choice import choose, farthest, fingerprints

NUMBERS = np.array([8, 1, 1, 8, 1, 1])


def frames(count: int = 6, seed: int = 1) -> np.ndarray:
    random = np.random.default_rng(seed)
    water = np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
    return np.concatenate([water, water + np.array([2.9, 0, 0])]) + random.normal(0, 0.1, (count, 6, 3))


def test_a_fingerprint_does_not_depend_on_order_origin_or_turn() -> None:
    places = frames()
    cell = 8.0 * np.eye(3)
    periodic = (True, True, True)
    first = fingerprints(places, NUMBERS, cell, periodic)
    swapped = places[:, [3, 5, 4, 0, 1, 2]]
    np.testing.assert_allclose(fingerprints(swapped, NUMBERS, cell, periodic), first, atol=1e-12)
    shifted = (places + np.array([3.1, -2.2, 5.0])) % 8.0
    np.testing.assert_allclose(fingerprints(shifted, NUMBERS, cell, periodic), first, atol=1e-9)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    free = (False, False, False)
    np.testing.assert_allclose(
        fingerprints(places @ turn.T, NUMBERS, None, free), fingerprints(places, NUMBERS, None, free), atol=1e-9
    )
    assert np.linalg.norm(first[0] - first[1]) > 1e-2, "other geometries differ"


def test_farthest_points_cover_the_clusters_before_they_repeat_one() -> None:
    random = np.random.default_rng(2)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = (centres[:, None] + random.normal(0, 0.1, (3, 20, 2))).reshape(-1, 2)
    assert sorted(farthest(points, 3) // 20) == [0, 1, 2]
    # what is labelled already is not taken again
    assert sorted(farthest(points, 2, taken=points[:1]) // 20) == [1, 2]


def test_copies_are_taken_once() -> None:
    points = np.repeat(np.array([[0.0], [1.0]]), 5, axis=0)
    assert len(farthest(points, 10)) == 2


def test_only_frames_in_the_window_are_chosen_and_all_are_counted() -> None:
    points = np.arange(6.0)[:, None]
    deviation = np.array([0.01, 0.1, 0.2, 0.3, 0.9, np.nan])
    choice = choose(points, 2, deviation=deviation, window=(0.05, 0.5))
    assert sorted(choice.chosen) == [1, 3]
    assert (choice.calm, choice.window, choice.wild) == (1, 3, 2)
    nothing = choose(points, 2, deviation=np.zeros(6), window=(0.05, 0.5))
    assert len(nothing.chosen) == 0 and nothing.calm == 6
