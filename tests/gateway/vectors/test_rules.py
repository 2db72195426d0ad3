"""Which kind of index for how many vectors, and which segments become one."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.vectors.kinds import FLAT, PQ, SQ8, choose
from gateway.vectors.merging import Size, due

GB = 1e9


def test_few_vectors_are_looked_at_one_by_one():
    assert choose(20_000, 128, GB).name == FLAT
    assert choose(500, 128, GB, "hnsw").name == FLAT


def test_many_are_kept_as_exactly_as_memory_allows():
    assert (choose(1_000_000, 128, 4 * GB).name, choose(1_000_000, 128, 4 * GB).lists) == (SQ8, 4096)
    assert choose(50_000_000, 128, 8 * GB).name == SQ8
    coarse = choose(50_000_000, 128, 4 * GB)
    assert (coarse.name, coarse.pieces) == (PQ, 32)
    assert coarse.bytes_each(128) * 50_000_000 <= 4.1 * GB
    assert "HNSW" not in coarse.recipe, "a graph over centres does not reach all of them"


def test_a_length_that_cannot_be_quartered_is_cut_as_finely_as_it_can():
    assert choose(10**8, 99, 1).pieces == 11
    assert choose(10**8, 97, 1).pieces == 1


@given(st.integers(1, 10**9), st.integers(2, 2048), st.sampled_from(["auto", "flat", "ivf-sq8", "ivf-pq", "hnsw"]))
def test_every_kind_can_be_tuned_from_little_to_all(count, dimension, wanted):
    kind = choose(count, dimension, GB, wanted)
    assert list(kind.efforts) == sorted(set(kind.efforts))
    assert kind.efforts[-1] == (kind.lists or kind.efforts[-1])
    assert kind.candidates >= 1
    assert kind.bytes_each(dimension) > 0


def test_four_of_a_size_become_one():
    assert due([Size(100)] * 3, 100, 10**6) == ()
    assert due([Size(100)] * 5, 100, 10**6) == (0, 1, 2, 3)
    assert due([Size(1600), Size(100), Size(90), Size(110), Size(120)], 100, 10**6) == (1, 2, 3, 4)


def test_nothing_is_made_larger_than_allowed_and_the_damaged_are_left_alone():
    assert due([Size(100)] * 4, 100, 399) == ()
    assert due([Size(100, fixed=True), *[Size(100)] * 3], 100, 10**6) == ()


def test_what_is_worn_or_mostly_deleted_is_written_again():
    assert due([Size(100), Size(100, worn=True)], 100, 10**6) == (1,)
    assert due([Size(100), Size(100, dead=26)], 100, 10**6) == (1,)


@given(st.lists(st.integers(1, 400), min_size=1, max_size=400))
def test_each_vector_is_written_again_a_few_times_only(additions):
    segments, written, unit = [], 0, 100
    for count in additions:
        segments.append(Size(count))
        while chosen := due(segments, unit, 10**9):
            merged = sum(segments[place].count for place in chosen)
            written += merged
            segments = [one for place, one in enumerate(segments) if place not in chosen] + [Size(merged)]
    assert len(segments) < 3 * 8
    assert written <= 7 * sum(additions)
