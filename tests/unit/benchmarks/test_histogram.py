"""Percentiles against sorted lists, and the same buckets as the native generator's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidelog._native.loadgen import Histogram as NativeHistogram
from tidelog.benchmarks.histogram import PRECISION, Histogram, bucket_of, highest_of, lowest_of

VALUES = st.lists(st.integers(0, 1 << 40), min_size=1, max_size=200)


def filled(values: list[int]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(VALUES, st.floats(0, 100))
@settings(max_examples=200)
def test_a_percentile_is_exact_to_the_stated_precision(values: list[int], percent: float) -> None:
    ordered = sorted(values)
    exact = ordered[max(1, int(percent / 100 * len(values) + 0.5)) - 1]
    found = filled(values).percentile(percent)
    assert exact <= found <= exact * (1 + PRECISION) + 1


@given(st.integers(0, 1 << 62))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    index = bucket_of(value)
    assert lowest_of(index) <= value <= highest_of(index)
    assert highest_of(index) + 1 == lowest_of(index + 1)
    assert highest_of(index) - lowest_of(index) <= lowest_of(index) * PRECISION


@given(VALUES, VALUES)
@settings(max_examples=50)
def test_merging_is_recording_both(one: list[int], other: list[int]) -> None:
    merged = filled(one)
    merged.merge(filled(other))
    assert merged.to_json() == filled(one + other).to_json()


def test_merging_with_an_empty_one() -> None:
    histogram = filled([5, 7])
    histogram.merge(Histogram())
    empty = Histogram()
    empty.merge(histogram)
    assert empty.to_json() == histogram.to_json() == filled([5, 7]).to_json()


@given(VALUES)
@settings(max_examples=50)
def test_json_brings_everything_back(values: list[int]) -> None:
    histogram = filled(values)
    again = Histogram.from_json(histogram.to_json())
    assert again.to_json() == histogram.to_json()
    assert (again.mean_ns, again.percentile(99)) == (histogram.mean_ns, histogram.percentile(99))


@given(st.lists(st.integers(0, (1 << 40) - 1), min_size=1, max_size=100))
@settings(max_examples=50)
def test_buckets_are_those_of_the_native_generator(values: list[int]) -> None:
    native = NativeHistogram()
    for value in values:
        native.record(value)
    assert filled(values).buckets() == native.buckets()


def test_an_empty_one_and_what_is_out_of_bounds() -> None:
    histogram = Histogram()
    assert (histogram.percentile(50), histogram.mean_ns) == (0, 0.0)
    histogram.record(-5)
    assert (histogram.min_ns, histogram.max_ns) == (0, 0)
    for percent in (-0.1, 100.1):
        with pytest.raises(ValueError, match="between 0 and 100"):
            histogram.percentile(percent)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"count": 2, "total_ns": 1, "min_ns": 1, "max_ns": 1, "buckets": [[1, 1]]},
        {"count": 0, "total_ns": 1, "min_ns": 1, "max_ns": 1, "buckets": [[1, -1], [1, 1]]},
        {"count": 1, "total_ns": 1, "min_ns": 1, "max_ns": 1, "buckets": [1]},
    ],
)
def test_what_is_no_histogram(data: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not a histogram"):
        Histogram.from_json(data)
