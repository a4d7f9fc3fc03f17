"""What the environment may say to the control plane, and what is refused."""

from pathlib import Path

import pytest

from daemon.control.database.engine import database_url
from daemon.control.settings import ControlSettings
from daemon.errors import ConfigurationError

REFUSED = [
    ("CONTROL_LISTEN", "4000", "host:port"),
    ("CONTROL_FLEET", "My Fleet", "dashes"),
    ("CONTROL_DOCKER_IMAGE", "--privileged", "name of an image"),
    ("CONTROL_DOCKER_REPO", "relative", "absolute path"),
    ("CONTROL_DAYTONA_URL", "ftp://x", "http"),
    ("CONTROL_TOKEN", "planted secret", "one word"),
    ("CONTROL_LEASE", "0", "greater than or equal to 1"),
    ("CONTROL_POLL_INTERVAL", "never", "valid number"),
    ("CONTROL_TOKNE", "x", "did you mean CONTROL_TOKEN?"),
    ("ITERATE_GIT_SHA", "main", "pattern"),
]


@pytest.mark.parametrize(("name", "text", "reason"), REFUSED)
def test_each_refusal_names_the_setting_and_the_reason(name: str, text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        ControlSettings.from_environment({name: text})
    assert name in str(refused.value)
    assert reason in str(refused.value)
    assert "planted" not in str(refused.value)


def test_nothing_has_to_be_set() -> None:
    settings = ControlSettings.from_environment({"PATH": "/bin", "REFRESHD_TOKEN": "of a machine"})
    assert settings.database == "sqlite:////var/lib/refreshd-control/control.sqlite"
    assert settings.secret_path == Path("/var/lib/refreshd-control/secret")


def test_a_password_in_the_databases_url_is_not_shown() -> None:
    settings = ControlSettings.from_environment({"CONTROL_DATABASE_URL": "postgresql://u:planted@h/d"})
    assert "planted" not in repr(settings)
    assert database_url(settings.database).password == "planted"
