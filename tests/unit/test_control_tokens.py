"""The key of the control plane, the tokens computed from it, and the users that containers have."""

import os
from pathlib import Path

import pytest

from daemon.control.errors import MachineSpecError
from daemon.control.providers.environment import MAX_VALUE, checked
from daemon.control.providers.passwd import ROOT, Owner, owner_of
from daemon.control.tokens import MachineTokens, load_key
from daemon.errors import ConfigurationError

PASSWD = "root:x:0:0:root:/root:/bin/bash\nbroken\niterate:x:1000:1001::/home/iterate:/bin/bash\n"


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret"
    key = load_key(path)
    assert load_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [child.name for child in path.parent.iterdir()] == ["secret"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    load_key(path)
    path.chmod(0o640)
    with pytest.raises(ConfigurationError, match="open to others"):
        load_key(path)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o600)
    os.truncate(path, 16)
    with pytest.raises(ConfigurationError, match="too short"):
        load_key(path)


def test_a_token_is_the_same_for_a_salt_and_another_for_each_other_salt_and_key() -> None:
    tokens = MachineTokens(b"k" * 32)
    assert tokens.token_for("a") == MachineTokens(b"k" * 32).token_for("a")
    assert len({tokens.token_for("a"), tokens.token_for("b"), MachineTokens(b"l" * 32).token_for("a")}) == 3
    assert len(tokens.token_for("a")) == 43


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("iterate", Owner(1000, 1001)),
        ("1000", Owner(1000, 1001)),
        ("iterate:7", Owner(1000, 7)),
        ("4711", Owner(4711, 0)),
        ("4711:8", Owner(4711, 8)),
        ("", ROOT),
        ("nobody-knows", ROOT),
    ],
)
def test_the_owner_of_the_token_is_the_images_user(user: str, owner: Owner) -> None:
    assert owner_of(user, PASSWD) == owner


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REFRESHD_TOKEN", "planted"),
        ("ITERATE_REPO_LOCAL_DOCKER_MOUNT", "planted"),
        ("A=B", "planted"),
        ("", "planted"),
        ("A", "planted\0"),
        ("A", "planted" * MAX_VALUE),
    ],
)
def test_variables_that_would_be_ours_or_are_none_are_refused_without_their_value(name: str, value: str) -> None:
    with pytest.raises(MachineSpecError) as refused:
        checked({"FINE": "x", name: value})
    assert "planted" not in str(refused.value)
