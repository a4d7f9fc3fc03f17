"""What may be asked for; git itself is the judge of what it could misread."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.errors import InvalidRefError
from daemon.refs import MAX_LENGTH, RefKind, parse_branch, parse_commit, parse_ref

ID = "0123456789abcdef0123456789abcdef01234567"
SHA256 = "0123456789abcdef" * 4


class TestKinds:
    @pytest.mark.parametrize(
        ("text", "kind", "name"),
        [
            (ID, RefKind.COMMIT, ID),
            (ID.upper(), RefKind.COMMIT, ID),
            (SHA256, RefKind.COMMIT, SHA256),
            (ID[:39], RefKind.NAME, ID[:39]),
            ("main", RefKind.NAME, "main"),
            ("feature/x", RefKind.NAME, "feature/x"),
            ("HEAD", RefKind.NAME, "HEAD"),
            ("refs/heads/main", RefKind.FULL, "refs/heads/main"),
            ("refs/pull/7/head", RefKind.FULL, "refs/pull/7/head"),
            ("v1.0", RefKind.NAME, "v1.0"),
            ("für/mich", RefKind.NAME, "für/mich"),
        ],
    )
    def test_a_ref_is_told_by_its_form(self, text: str, kind: RefKind, name: str) -> None:
        ref = parse_ref(text)
        assert (ref.kind, ref.name) == (kind, name)

    def test_a_branch_may_look_like_a_commit(self) -> None:
        assert parse_branch(ID).kind is RefKind.BRANCH

    def test_a_branch_may_be_given_by_its_full_name(self) -> None:
        assert parse_branch("refs/heads/main").kind is RefKind.FULL

    def test_a_commit_is_nothing_but_a_full_id(self) -> None:
        assert parse_commit(ID.upper()).name == ID
        for text in ("main", ID[:39], ID + "0", ""):
            with pytest.raises(InvalidRefError, match="all of its 40"):
                parse_commit(text)

    def test_too_many_digits_are_a_mistake_and_not_a_name(self) -> None:
        with pytest.raises(InvalidRefError, match="has 40 digits and this has 41"):
            parse_ref(ID + "0")


class TestCandidates:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("main", ("refs/heads/main", "refs/tags/main")),
            ("refs/tags/v1", ("refs/tags/v1",)),
            (ID, ()),
        ],
    )
    def test_full_names_the_best_first(self, text: str, expected: tuple[str, ...]) -> None:
        assert parse_ref(text).candidates() == expected

    def test_a_branch_is_looked_for_among_branches_only(self) -> None:
        assert parse_branch("main").candidates() == ("refs/heads/main",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-x",
        "--upload-pack=touch /tmp/x",
        "a..b",
        "a b",
        "a\tb",
        "a\nb",
        "a\x00b",
        "a\x7fb",
        "a~1",
        "a^",
        "a:b",
        "+a:b",
        "a?",
        "a*",
        "a[b",
        "a\\b",
        "a@{1}",
        "@",
        "/a",
        "a/",
        "a//b",
        "a.",
        ".a",
        "a/.b",
        "a.lock",
        "a.lock/b",
        "\udcff",
        "a" * (MAX_LENGTH + 1),
        "ü" * 128,
    ],
)
@pytest.mark.parametrize("parse", [parse_ref, parse_branch], ids=["ref", "branch"])
def test_what_git_could_misread_is_refused(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(InvalidRefError, match="cannot accept"):
        parse(text)


def test_the_error_quotes_no_more_than_a_ref_may_have() -> None:
    with pytest.raises(InvalidRefError) as caught:
        parse_ref("x" * 100_000)
    assert len(str(caught.value)) < 2 * MAX_LENGTH


@given(st.text(alphabet=st.one_of(st.sampled_from("ab/.-@{}~^:?*[\\ \t\n\x00\x7fü"), st.characters()), max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_accepted_git_accepts_too(text: str) -> None:
    try:
        ref = parse_ref(text)
    except InvalidRefError:
        return
    name = ref.name if ref.kind is RefKind.FULL else f"refs/heads/{ref.name}"
    checked = subprocess.run(("git", "check-ref-format", name.encode()), check=False)
    assert checked.returncode == 0, name


@given(st.text(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_ref_parses_to_itself_again(text: str) -> None:
    try:
        ref = parse_ref(text)
    except InvalidRefError:
        return
    assert parse_ref(ref.requested) == ref
