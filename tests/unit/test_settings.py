"""What the environment may say, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from daemon.errors import ConfigurationError
from daemon.settings import Address, Settings

REPO = {"ITERATE_REPO": "/srv/checkout"}
DEFAULTS: dict[str, Any] = {
    "repo": Path("/srv/checkout"),
    "mount": Path("/local-iterate-repo"),
    "os_sha": "",
    "environment": "",
    "listen": Address("127.0.0.1", 3000),
    "socket": None,
    "state_dir": Path("/var/lib/refreshd"),
    "run_dir": Path("/run/refreshd"),
    "log_dir": Path("/var/log/refreshd"),
    "token": None,
    "token_file": None,
    "hosts": (),
    "refs": (),
    "allowed_signers": None,
    "max_connections": 512,
    "git_token": None,
    "git_token_file": None,
    "git_url": "",
    "commands": None,
    "code_dir": Path(),
    "launcher": None,
    "notification_fd": None,
    "holder": None,
    "stage_timeout": 300,
    "apply_timeout": 120,
    "install_timeout": 600,
    "check_timeout": 60,
    "undo_timeout": 600,
    "queue_timeout": 30,
    "restart_timeout": 5,
    "rescue": False,
    "verify_timeout": 30,
    "snapshots_keep": 50,
    "snapshots_max_mb": 1024,
    "log_format": "auto",
    "log_level": "info",
}
GIVEN: list[tuple[str, str, str, Any]] = [
    ("ITERATE_REPO", "/home/me/code", "repo", Path("/home/me/code")),
    ("ITERATE_REPO_LOCAL_DOCKER_MOUNT", "/mnt", "mount", Path("/mnt")),
    ("ITERATE_GIT_SHA", "ab" * 20, "os_sha", "ab" * 20),
    ("ITERATE_GIT_SHA", "0f" * 32, "os_sha", "0f" * 32),
    ("REFRESHD_ENVIRONMENT", "local-docker", "environment", "local-docker"),
    ("REFRESHD_LISTEN", "0.0.0.0:3000", "listen", Address("0.0.0.0", 3000)),  # noqa: S104 - parsed, not bound
    ("REFRESHD_LISTEN", "localhost:0", "listen", Address("localhost", 0)),
    ("REFRESHD_LISTEN", ":8080", "listen", Address("0.0.0.0", 8080)),  # noqa: S104 - parsed, not bound
    ("REFRESHD_LISTEN", "[::1]:65535", "listen", Address("::1", 65535)),
    ("REFRESHD_LISTEN", "[fe80::1%eth0]:1", "listen", Address("fe80::1%eth0", 1)),
    ("REFRESHD_LISTEN", "none", "listen", None),
    ("REFRESHD_LISTEN", "", "listen", None),
    ("REFRESHD_SOCKET", "/tmp/d.sock", "socket", Path("/tmp/d.sock")),
    ("REFRESHD_STATE_DIR", "/state", "state_dir", Path("/state")),
    ("REFRESHD_RUN_DIR", "/running", "run_dir", Path("/running")),
    ("REFRESHD_LOG_DIR", "/logs", "log_dir", Path("/logs")),
    ("REFRESHD_TOKEN_FILE", "/token", "token_file", Path("/token")),
    ("REFRESHD_REFS", "main, release/*,refs/tags/v*", "refs", ("main", "release/*", "refs/tags/v*")),
    ("REFRESHD_ALLOWED_SIGNERS", "/signers", "allowed_signers", Path("/signers")),
    ("REFRESHD_HOSTS", "Machine, .example.com,", "hosts", ("machine", ".example.com")),
    ("REFRESHD_MAX_CONNECTIONS", "8", "max_connections", 8),
    ("REFRESHD_GIT_TOKEN_FILE", "/git-token", "git_token_file", Path("/git-token")),
    ("REFRESHD_GIT_URL", "https://example.test/a.git", "git_url", "https://example.test/a.git"),
    ("REFRESHD_GIT_URL", "ssh://git@example.test/a.git", "git_url", "ssh://git@example.test/a.git"),
    ("REFRESHD_GIT_URL", "git@example.test:a.git", "git_url", "git@example.test:a.git"),
    ("REFRESHD_COMMANDS", "/shared/commands", "commands", Path("/shared/commands")),
    ("REFRESHD_CODE_DIR", "apps/daemon", "code_dir", Path("apps/daemon")),
    ("REFRESHD_LAUNCHER", "/usr/libexec/launch", "launcher", Path("/usr/libexec/launch")),
    ("REFRESHD_NOTIFICATION_FD", "3", "notification_fd", 3),
    ("REFRESHD_HOLDER", "/run/h", "holder", Path("/run/h")),
    ("REFRESHD_QUEUE_TIMEOUT", "7", "queue_timeout", 7),
    ("REFRESHD_STAGE_TIMEOUT", "0.5", "stage_timeout", 0.5),
    ("REFRESHD_APPLY_TIMEOUT", "2", "apply_timeout", 2),
    ("REFRESHD_INSTALL_TIMEOUT", "3", "install_timeout", 3),
    ("REFRESHD_CHECK_TIMEOUT", "4", "check_timeout", 4),
    ("REFRESHD_UNDO_TIMEOUT", "5", "undo_timeout", 5),
    ("REFRESHD_RESCUE", "1", "rescue", True),
    ("REFRESHD_RESTART_TIMEOUT", "6", "restart_timeout", 6),
    ("REFRESHD_VERIFY_TIMEOUT", "86400", "verify_timeout", 86400),
    ("REFRESHD_SNAPSHOTS_KEEP", "1", "snapshots_keep", 1),
    ("REFRESHD_SNAPSHOTS_MAX_MB", "64", "snapshots_max_mb", 64),
    ("REFRESHD_LOG_FORMAT", "json", "log_format", "json"),
    ("REFRESHD_LOG_LEVEL", "debug", "log_level", "debug"),
]
REFUSED = [
    ("ITERATE_REPO", "relative/path", "absolute path"),
    ("ITERATE_REPO_LOCAL_DOCKER_MOUNT", "relative", "absolute path"),
    ("ITERATE_GIT_SHA", "abc123", "pattern"),
    ("ITERATE_GIT_SHA", "AB" * 20, "pattern"),
    ("REFRESHD_ENVIRONMENT", "moon", "'daytona', 'local-docker' or 'local'"),
    ("REFRESHD_LISTEN", "3000", "host:port"),
    ("REFRESHD_HOSTS", "http://machine", "pattern"),
    ("REFRESHD_REFS", "a b", "pattern"),
    ("REFRESHD_REFS", "+refs/heads/*:refs/heads/*", "pattern"),
    ("REFRESHD_ALLOWED_SIGNERS", "signers", "absolute path"),
    ("REFRESHD_HOSTS", "machine:3000", "pattern"),
    ("REFRESHD_HOSTS", "*", "pattern"),
    ("REFRESHD_HOSTS", ".", "pattern"),
    ("REFRESHD_LISTEN", "127.0.0.1", "host:port"),
    ("REFRESHD_LISTEN", "127.0.0.1:", "host:port"),
    ("REFRESHD_LISTEN", "127.0.0.1:65536", "host:port"),
    ("REFRESHD_LISTEN", "127.0.0.1:-1", "host:port"),
    ("REFRESHD_LISTEN", "127.0.0.1:٣", "host:port"),
    ("REFRESHD_LISTEN", " 127.0.0.1:3000", "host:port"),
    ("REFRESHD_LISTEN", "127.0.0.1:3000\n", "host:port"),
    ("REFRESHD_LISTEN", "::1", "host:port"),
    ("REFRESHD_LISTEN", "::1:3000", "host:port"),
    ("REFRESHD_LISTEN", "[::1]", "host:port"),
    ("REFRESHD_LISTEN", "[::1:3000", "host:port"),
    ("REFRESHD_LISTEN", "[localhost]:3000", "host:port"),
    ("REFRESHD_SOCKET", "d.sock", "absolute path"),
    ("REFRESHD_STATE_DIR", "state", "absolute path"),
    ("REFRESHD_RUN_DIR", "run", "absolute path"),
    ("REFRESHD_LOG_DIR", "log", "absolute path"),
    ("REFRESHD_TOKEN", "  ", "one word"),
    ("REFRESHD_TOKEN", "planted secret", "one word"),
    ("REFRESHD_TOKEN_FILE", "token", "absolute path"),
    ("REFRESHD_GIT_TOKEN", "planted\nsecret", "one word"),
    ("REFRESHD_GIT_TOKEN_FILE", "token", "absolute path"),
    ("REFRESHD_GIT_URL", "https://planted:secret@example.test/a.git", "it holds credentials"),
    ("REFRESHD_GIT_URL", "https://planted@example.test/a.git", "it holds credentials"),
    ("REFRESHD_CODE_DIR", "/abs", "inside the checkout"),
    ("REFRESHD_CODE_DIR", "apps/../..", "inside the checkout"),
    ("REFRESHD_LAUNCHER", "launch", "absolute path"),
    ("REFRESHD_HOLDER", "holder", "absolute path"),
    ("REFRESHD_NOTIFICATION_FD", "2", "greater than or equal to 3"),
    ("REFRESHD_NOTIFICATION_FD", "1025", "less than or equal to 1024"),
    ("REFRESHD_NOTIFICATION_FD", "three", "valid integer"),
    ("REFRESHD_STAGE_TIMEOUT", "0", "greater than 0"),
    ("REFRESHD_APPLY_TIMEOUT", "-1", "greater than 0"),
    ("REFRESHD_INSTALL_TIMEOUT", "86401", "less than or equal to 86400"),
    ("REFRESHD_CHECK_TIMEOUT", "inf", "less than or equal to 86400"),
    ("REFRESHD_UNDO_TIMEOUT", "nan", "less than or equal to 86400"),
    ("REFRESHD_QUEUE_TIMEOUT", "0", "greater than 0"),
    ("REFRESHD_RESTART_TIMEOUT", "soon", "valid number"),
    ("REFRESHD_VERIFY_TIMEOUT", "1m", "valid number"),
    ("REFRESHD_SNAPSHOTS_KEEP", "0", "greater than or equal to 1"),
    ("REFRESHD_SNAPSHOTS_MAX_MB", "0", "greater than or equal to 1"),
    ("REFRESHD_LOG_FORMAT", "xml", "'auto', 'json' or 'pretty'"),
    ("REFRESHD_LOG_LEVEL", "INFO", "'debug', 'info', 'warning' or 'error'"),
]


def read(**environ: str) -> Settings:
    return Settings.from_environment(REPO | environ)


def refusal(environ: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Settings.from_environment(environ)
    return str(refused.value)


def test_the_checkout_is_all_that_must_be_set() -> None:
    settings = read()
    assert {name: getattr(settings, name) for name in Settings.model_fields} == DEFAULTS


@pytest.mark.parametrize(("name", "text", "field", "value"), GIVEN)
def test_each_setting_is_read_from_its_name(name: str, text: str, field: str, value: object) -> None:
    assert getattr(read(**{name: text}), field) == value


def test_no_setting_is_without_a_case_here() -> None:
    covered = {field for _, _, field, _ in GIVEN} | {"token", "git_token"}
    assert covered == set(Settings.model_fields)


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED)
def test_each_refusal_names_the_setting_and_the_reason(name: str, text: str, reason: str) -> None:
    message = refusal(REPO | {name: text})
    assert message.startswith("cannot start: ")
    assert f"{name}: " in message
    assert reason in message


@pytest.mark.parametrize(("name", "text"), [(n, t) for n, t, _ in REFUSED if "TOKEN" in n or "URL" in n])
def test_a_refusal_never_quotes_what_may_be_secret(name: str, text: str) -> None:
    message = refusal(REPO | {name: text})
    assert "planted" not in message
    assert "secret" not in message


def test_a_missing_checkout_is_said_in_words() -> None:
    assert refusal({}) == "cannot start: ITERATE_REPO: it must be set"


def test_an_empty_checkout_is_a_missing_one() -> None:
    assert "ITERATE_REPO: it must be set" in refusal({"ITERATE_REPO": ""})


@pytest.mark.parametrize("name", sorted({n for n, *_ in GIVEN} - {"ITERATE_REPO", "REFRESHD_LISTEN"}))
def test_an_empty_value_counts_as_unset(name: str) -> None:
    assert read(**{name: ""}) == read()


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    message = refusal(REPO | {"REFRESHD_TOKENFILE": "/x"})
    assert "REFRESHD_TOKENFILE is not a setting; did you mean REFRESHD_TOKEN_FILE?" in message


def test_what_a_later_image_tells_an_earlier_commit_is_ignored() -> None:
    assert read(REFRESHD_IMAGE_NOT_INVENTED_YET="1") == read()
    assert "REFRESHD_IMAGES is not a setting" in refusal(REPO | {"REFRESHD_IMAGES": "1"})


def test_an_unknown_name_like_no_other_is_refused_without_a_guess() -> None:
    message = refusal(REPO | {"REFRESHD_QQQQQQQQQQQQQQQQQQQQQQQQ": "planted"})
    assert message == "cannot start: REFRESHD_QQQQQQQQQQQQQQQQQQQQQQQQ is not a setting"


def test_names_of_others_are_left_alone() -> None:
    assert read(HOME="/root", ITERATE_OTHER="x", GITHUB_SHA="y") == read()


def test_all_problems_are_told_at_once() -> None:
    message = refusal({"REFRESHD_LISTEN": "x", "REFRESHD_NOPE": "1", "REFRESHD_LOG_LEVEL": "loud"})
    assert all(name in message for name in ("ITERATE_REPO", "REFRESHD_LISTEN", "REFRESHD_NOPE", "REFRESHD_LOG_LEVEL"))


def test_a_token_loses_the_newline_that_files_add() -> None:
    settings = read(REFRESHD_TOKEN="abc\n", REFRESHD_GIT_TOKEN=" def ")
    assert settings.token
    assert settings.token.get_secret_value() == "abc"
    assert settings.git_token
    assert settings.git_token.get_secret_value() == "def"


def test_bytes_that_are_no_text_are_refused_and_not_quoted() -> None:
    message = refusal(REPO | {"REFRESHD_TOKEN": "planted\udcff"})
    assert "REFRESHD_TOKEN: " in message
    assert "planted" not in message


@pytest.mark.parametrize(
    ("environ", "token"),
    [
        ({"GITHUB_TOKEN": "a"}, "a"),
        ({"GITHUB_ACCESS_TOKEN": "b"}, "b"),
        ({"GITHUB_TOKEN": "a", "GITHUB_ACCESS_TOKEN": "b"}, "a"),
        ({"GITHUB_TOKEN": "", "GITHUB_ACCESS_TOKEN": "b"}, "b"),
        ({"REFRESHD_GIT_TOKEN": "c", "GITHUB_TOKEN": "a"}, "c"),
        ({"REFRESHD_GIT_TOKEN": "", "GITHUB_TOKEN": "a"}, "a"),
        ({"REFRESHD_GIT_TOKEN_FILE": "/f", "GITHUB_TOKEN": "a"}, None),
    ],
)
def test_the_git_token_falls_back_to_what_github_calls_it(environ: dict[str, str], token: str | None) -> None:
    settings = read(**environ)
    assert (settings.git_token.get_secret_value() if settings.git_token else None) == token


def test_a_printed_settings_object_shows_no_secret() -> None:
    settings = read(REFRESHD_TOKEN="planted-a", REFRESHD_GIT_TOKEN="planted-b")
    assert "planted" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_what_a_child_is_given_holds_no_secret_and_configures_it_alike() -> None:
    environ = REPO | {"REFRESHD_TOKEN": "planted", "GITHUB_TOKEN": "planted", "REFRESHD_LISTEN": "", "HOME": "/root"}
    assert Settings.without_secrets(environ) == REPO | {"REFRESHD_LISTEN": ""}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [({}, False), ({"REFRESHD_TOKEN": "x"}, True), ({"REFRESHD_TOKEN_FILE": "/not/there"}, True)],
)
def test_a_token_counts_as_configured_by_value_or_by_file(environ: dict[str, str], expected: bool) -> None:  # noqa: FBT001 - a case
    assert read(**environ).has_token is expected


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        read().log_level = "debug"  # type: ignore[misc]  # that is the point


def test_a_field_that_is_no_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"repo": "/x", "colour": "red"})


def test_the_socket_is_in_the_run_directory_unless_named() -> None:
    assert read(REFRESHD_RUN_DIR="/r").socket_path == Path("/r/refreshd.sock")
    assert read(REFRESHD_RUN_DIR="/r", REFRESHD_SOCKET="/s").socket_path == Path("/s")


def test_the_daemons_code_is_the_checkout_unless_a_folder_is_named() -> None:
    assert read().code_path == Path("/srv/checkout")
    assert read(REFRESHD_CODE_DIR="apps/daemon").code_path == Path("/srv/checkout/apps/daemon")


@pytest.mark.parametrize("text", ["127.0.0.1:3000", "[::1]:3000"])
def test_an_address_prints_as_it_was_given(text: str) -> None:
    assert str(read(REFRESHD_LISTEN=text).listen) == text


def test_each_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
