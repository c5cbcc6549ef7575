import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_assets.dedup.edges import LISTED, Edges
from persona_assets.dedup.keep import keep


def edges(*pairs):
    left, right, similarity = zip(*pairs, strict=True) if pairs else ((), (), ())
    return Edges.of(np.array(left, np.int64), np.array(right, np.int64), np.array(similarity, np.float64))


def order(*rows):
    return np.array(rows, np.int64)


def test_a_row_is_dropped_only_for_a_kept_row():
    kept = keep(order(0, 1, 2), edges((0, 1, 0.9), (1, 2, 0.9)), 0.8)
    assert kept.kept.tolist() == [True, False, True]
    assert kept.winner.tolist() == [-1, 0, -1]


def test_the_order_decides_who_stays():
    kept = keep(order(1, 0, 2), edges((0, 1, 0.9), (1, 2, 0.9)), 0.8)
    assert kept.kept.tolist() == [False, True, False]


def test_the_winner_is_the_most_similar_kept_row_then_the_best_ranked():
    kept = keep(order(2, 0, 1, 3), edges((0, 3, 0.9), (1, 3, 0.95), (2, 3, 0.95)), 0.8)
    assert kept.winner.tolist() == [-1, -1, -1, 2]
    assert kept.similarity[3] == 0.95
    assert np.isnan(kept.similarity[:3]).all()


def test_pairs_below_the_threshold_drop_nothing():
    assert keep(order(0, 1), edges((0, 1, 0.7)), 0.8).kept.all()
    assert not keep(order(0, 1), edges((0, 1, 0.7)), 0.7).kept.all()


def test_rows_outside_the_order_neither_stay_nor_win():
    kept = keep(order(2, 1), edges((0, 1, 0.9), (1, 2, 0.9)), 0.8)
    assert kept.kept.tolist() == [False, False, True]
    assert kept.winner.tolist() == [-1, 2, -1]


def test_rows_linked_to_one_of_them_as_interchangeable_are_one_group():
    copies = range(1, LISTED + 2)
    close = edges(*((0, copy, 1.0) for copy in copies), (0, 100, 0.9))
    assert np.flatnonzero(keep(order(50, *range(50), 100), close, 0.8).kept).tolist() == [50]
    without_the_first = keep(order(7, 8, 100), close, 0.8)
    assert np.flatnonzero(without_the_first.kept).tolist() == [7]
    assert (without_the_first.winner[8], without_the_first.similarity[8]) == (7, 1.0)
    assert (without_the_first.winner[100], without_the_first.similarity[100]) == (7, 0.9)
    assert np.flatnonzero(keep(order(100, 7, 8), close, 0.8).kept).tolist() == [100]


def test_no_rows_are_no_fault():
    assert len(keep(order(), Edges.empty(), 0.8).kept) == 0


@pytest.mark.parametrize("rows", [(0, 0), (1, -2)])
def test_a_broken_order_is_refused(rows):
    with pytest.raises(ValueError, match="row"):
        keep(order(*rows), Edges.empty(), 0.8)


@given(
    pairs=st.dictionaries(
        st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] < pair[1]),
        st.sampled_from([0.6, 0.7, 0.8, 0.9]),
        max_size=40,
    ),
    ranks=st.permutations(range(12)),
    share=st.integers(0, 12),
)
def test_the_result_is_that_of_the_rule_read_out_loud(pairs, ranks, share):
    priority = ranks[:share]
    kept = keep(order(*priority), edges(*((a, b, s) for (a, b), s in pairs.items())), 0.7)
    stays: list[int] = []
    for row in priority:
        rivals = [(pairs.get((min(row, k), max(row, k)), 0.0), -place, k) for place, k in enumerate(stays)]
        best = max(rivals, default=(0.0, 0, -1))
        if best[0] >= 0.7:
            assert (kept.winner[row], kept.similarity[row]) == (best[2], best[0])
        else:
            stays.append(row)
    assert np.flatnonzero(kept.kept).tolist() == sorted(stays)
