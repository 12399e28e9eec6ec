"""Kafka's rules for topic names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidelog.controller.topic_names import colliding_name, name_problem


@pytest.mark.parametrize("name", ["a", "A-b_c.9", "...", "..a", "__consumer_offsets", "x" * 249])
def test_legal(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name", ["", ".", "..", "x" * 250, "a b", "a/b", "ä", "a\n", "a\x00", "a:b", "\u0661", "a$"]
)
def test_illegal(name: str) -> None:
    assert name_problem(name)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "the empty string is not allowed"),
        ("..", "'..' is not allowed"),
        (
            "a/b",
            "'a/b' contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'",
        ),
        ("x" * 250, f"the length of '{'x' * 250}' is longer than the max allowed length 249"),
    ],
)
def test_problems_in_the_words_that_kafkas_tools_print(name: str, problem: str) -> None:
    assert name_problem(name) == f"Topic name is invalid: {problem}"


@pytest.mark.parametrize(
    ("name", "existing", "expected"),
    [
        ("a.b", ["a_b"], "a_b"),
        ("a_b", ["a.b"], "a.b"),
        ("a.b", ["a.b"], None),
        ("a.b", ["a-b", "ab", "a.b.c"], None),
        ("ab", ["a_b"], None),
        ("a.b_c", ["a_b.c"], "a_b.c"),
        (".".join("a" * 20), ["_".join("a" * 20)], "_".join("a" * 20)),
        (".".join("a" * 20), [".".join("a" * 20), "_".join("a" * 19)], None),
    ],
)
def test_collisions(name: str, existing: list[str], expected: str | None) -> None:
    assert colliding_name(name, set(existing)) == expected


@given(st.text("a._", min_size=1, max_size=12), st.lists(st.text("a._", max_size=12), max_size=6))
def test_a_collision_is_equality_with_the_marks_made_equal(name: str, existing: list[str]) -> None:
    plain = name.replace(".", "_")
    expected = {n for n in existing if n != name and n.replace(".", "_") == plain}
    found = colliding_name(name, set(existing))
    assert (found in expected) if expected else (found is None)
