"""The accounts: what may be changed, what is stored, and who is let in by it."""

import asyncio
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from daemon.auth.users import TOKEN_PREFIX, Account, Users, whose
from daemon.errors import (
    ConfigurationError,
    LastUserError,
    NotFoundError,
    SystemCallError,
    TakenError,
    UserNameError,
)
from daemon.models import Role


@pytest.fixture
def users(tmp_path: Path) -> Users:
    return Users(tmp_path / "state" / "users.json")


def owner_of(users: Users, token: str) -> Account | None:
    return whose(token, asyncio.run(users.current()))


def test_a_token_opens_for_the_user_that_it_was_issued_to(users: Users) -> None:
    ana, bob = users.add("ana", Role.UPDATE), users.add("bob", Role.READ)
    found = [owner_of(users, issued.token) for issued in (ana, bob)]
    assert [(account.name, account.role) for account in found if account] == [("ana", "update"), ("bob", "read")]


def test_no_token_and_nothing_like_one_opens(users: Users) -> None:
    token = users.add("ana", Role.UPDATE).token
    for wrong in ("", "ana", token[:-1], token + "x", token.upper(), "\udcff", "sha256"):
        assert owner_of(users, wrong) is None


def test_what_is_stored_opens_nothing(users: Users, tmp_path: Path) -> None:
    token = users.add("ana", Role.UPDATE).token
    stored = (tmp_path / "state" / "users.json").read_text()
    assert token not in stored
    assert owner_of(users, json.loads(stored)["users"][0]["token_sha256"]) is None


def test_tokens_are_long_marked_and_never_the_same(users: Users) -> None:
    tokens = {users.add(f"user{number}", Role.READ).token for number in range(20)}
    assert len(tokens) == 20
    assert all(token.startswith(TOKEN_PREFIX) and len(token) == len(TOKEN_PREFIX) + 43 for token in tokens)


def test_an_issued_token_is_not_in_what_is_printed_of_it(users: Users) -> None:
    issued = users.add("ana", Role.UPDATE)
    assert issued.token not in repr(issued)


def test_a_new_token_ends_the_old_one_and_changes_the_stamp(users: Users) -> None:
    first = users.add("ana", Role.UPDATE).token
    before = owner_of(users, first)
    second = users.renew("ana").token
    after = owner_of(users, second)
    assert owner_of(users, first) is None
    assert before
    assert after
    assert before.stamp != after.stamp


def test_a_disabled_user_is_not_let_in_until_enabled_again(users: Users) -> None:
    token = users.add("ana", Role.READ).token
    users.alter("ana", enabled=False)
    assert owner_of(users, token) is None
    users.alter("ana", enabled=True)
    assert owner_of(users, token)


def test_a_removed_user_is_not_let_in(users: Users) -> None:
    token = users.add("ana", Role.READ).token
    users.remove("ana")
    assert owner_of(users, token) is None
    assert users.all() == ()


def test_the_last_enabled_user_who_may_update_stays(users: Users) -> None:
    users.add("ana", Role.UPDATE)
    users.add("reader", Role.READ)
    users.add("off", Role.UPDATE)
    users.alter("off", enabled=False)
    before = users.all()
    with pytest.raises(LastUserError, match=r"cannot remove ana: .* add or enable another one first"):
        users.remove("ana")
    with pytest.raises(LastUserError, match="cannot disable ana"):
        users.alter("ana", enabled=False)
    with pytest.raises(LastUserError, match="cannot demote ana"):
        users.alter("ana", role=Role.READ)
    assert users.all() == before


def test_with_a_second_one_the_first_may_go(users: Users) -> None:
    users.add("ana", Role.UPDATE)
    users.add("bob", Role.UPDATE)
    users.alter("ana", role=Role.READ)
    users.remove("ana")
    assert [user.name for user in users.all()] == ["bob"]


@pytest.mark.parametrize(
    "name", ["", "Ana", "1a", "a b", "a/b", "../a", "a\n", "-a", "a" * 33, "é", "a\x00", "a:b", "user@example"]
)
def test_a_name_that_could_be_misread_is_refused_by_every_command(users: Users, name: str) -> None:
    for command in (
        lambda: users.add(name, Role.READ),
        lambda: users.renew(name),
        lambda: users.alter(name, enabled=True),
        lambda: users.remove(name),
    ):
        with pytest.raises(UserNameError):
            command()


def test_a_user_who_is_not_there_is_not_found(users: Users) -> None:
    for command in (
        lambda: users.renew("ana"),
        lambda: users.alter("ana", enabled=True),
        lambda: users.remove("ana"),
    ):
        with pytest.raises(NotFoundError):
            command()


def test_a_name_is_taken_once(users: Users) -> None:
    users.add("ana", Role.READ)
    with pytest.raises(TakenError):
        users.add("ana", Role.UPDATE)


def test_the_file_is_for_the_daemon_alone(users: Users, tmp_path: Path) -> None:
    users.add("ana", Role.READ)
    assert (tmp_path / "state" / "users.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for others")
def test_what_root_writes_belongs_to_the_owner_of_the_folder(users: Users, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    os.chown(tmp_path / "state", 12345, 12345)
    users.add("ana", Role.READ)
    assert {path.stat().st_uid for path in (tmp_path / "state").iterdir()} == {12345}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"users": [{"name": "ana"}]}', b"\xff", b" " * (1 << 21)])
def test_a_damaged_file_lets_nobody_in_and_is_not_overwritten(users: Users, tmp_path: Path, content: bytes) -> None:
    token = users.add("ana", Role.UPDATE).token
    file = tmp_path / "state" / "users.json"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError):
        owner_of(users, token)
    with pytest.raises(ConfigurationError):
        users.add("bob", Role.UPDATE)
    assert file.read_bytes() == content


def _add_some(path: Path, first: int) -> None:
    for number in range(first, first + 10):
        Users(path).add(f"user{number}", Role.READ)


def test_no_change_is_lost_where_several_processes_change_at_once(users: Users, tmp_path: Path) -> None:
    assert asyncio.run(users.current()) == {}
    path = tmp_path / "state" / "users.json"
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_add_some, args=(path, first)) for first in (0, 10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(asyncio.run(users.current())) == {f"user{number}" for number in range(20)}


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemCallError, match="file"):
        Users(tmp_path / "file" / "users.json").add("ana", Role.READ)
