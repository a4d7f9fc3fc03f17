"""A list of paths answers what a set of them does."""

import random

import pytest

from daemon.names import NONE, Names

FILES = [f"p{number % 100}/f{number}.js".encode() for number in range(4_000)]
ALL = Names.of(FILES)


def test_they_are_sorted_as_git_prints_them() -> None:
    assert Names.of([b"b", b"a/b", b"a.b", b"b"]).joined == b"a.b\0a/b\0b\0"
    assert list(Names.of([b"b", b"a"])) == [b"a", b"b"]
    assert len(Names.of([b"b", b"a"])) == 2


def test_none_is_false_and_any_is_true() -> None:
    assert not NONE
    assert NONE.marked(b"x/") == NONE
    assert Names.of([b"a"])


@pytest.mark.parametrize("path", [b"a", b"c/d"])
def test_what_is_in_it_is_found(path: bytes) -> None:
    assert path in Names.of([b"a", b"b", b"c/d"])


@pytest.mark.parametrize("path", [b"", b"c", b"d", b"c/", b"a\0b", b"\0", b"b\0c/d"])
def test_what_is_not_in_it_is_not_found(path: bytes) -> None:
    assert path not in Names.of([b"a", b"b", b"c/d"])


def test_more_take_their_places_and_some_leave_none() -> None:
    names = Names.of([b"b", b"d"])
    assert names.plus({b"c", b"a"}) == Names.of([b"a", b"b", b"c", b"d"])
    assert names.minus({b"b", b"x"}) == Names.of([b"d"])
    assert names.marked(b"x/") == Names.of([b"x/b", b"x/d"])


@pytest.mark.parametrize("changes", [0, 1, 2, 7, 100, 300, 1_500])
@pytest.mark.parametrize("seed", range(3))
def test_a_difference_is_that_of_the_sets_however_much_differs(changes: int, seed: int) -> None:
    chosen = random.Random(seed)  # noqa: S311 - no secret
    some = set(FILES) - set(chosen.sample(FILES, changes))
    others = set(FILES) - set(chosen.sample(FILES, changes)) | {b"x" + path for path in chosen.sample(FILES, changes)}
    assert Names.of(some) - Names.of(others) == some - others
    assert Names.of(others) - Names.of(some) == others - some


@pytest.mark.parametrize("at", [[0], [-1], [0, -1], [1, 2, 3], list(range(2_000))])
def test_a_difference_at_an_end_is_seen(at: list[int]) -> None:
    paths = list(ALL)
    gone = {paths[place] for place in at}
    rest = Names.of(set(FILES) - gone)
    assert ALL - rest == gone
    assert rest - ALL == frozenset()


def test_one_without_the_other_is_all_of_it() -> None:
    assert set(FILES) == ALL - NONE
    assert frozenset() == NONE - ALL
    assert Names.of([b"a"]) - Names.of([b"ab"]) == {b"a"}
    assert Names.of([b"ab"]) - Names.of([b"a"]) == {b"ab"}
