"""What the environment says to the control plane. `python -m daemon.control.settings` prints the README's table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from daemon.auth.tokens import Token
from daemon.client import server_url
from daemon.control.models import MachineName
from daemon.settings import (
    AbsolutePath,
    Address,
    HostName,
    Seconds,
    parse_address,
    parse_list,
    read_environment,
    table,
)

PREFIX = "CONTROL_"


def _http_url(text: str) -> str:
    return str(server_url(text)) if text else ""


def _image(text: str) -> str:
    if text.startswith("-") or not text.isprintable() or " " in text:
        raise ValueError("give the name of an image")
    return text


class ControlSettings(BaseModel):
    """Every setting under its environment name. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    os_sha: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")] = Field(
        "", alias="ITERATE_GIT_SHA", description="The commit of this deployment: what machines are compared with."
    )
    listen: Annotated[Address, BeforeValidator(parse_address)] = Field(
        Address("127.0.0.1", 4000), alias="CONTROL_LISTEN", description="Where the console listens, host:port."
    )
    state_dir: AbsolutePath = Field(
        Path("/var/lib/refreshd-control"), alias="CONTROL_STATE_DIR", description="Users, the secret, and SQLite."
    )
    database_url: SecretStr = Field(
        SecretStr(""),
        alias="CONTROL_DATABASE_URL",
        description="postgresql://… for several control planes; empty: SQLite in the state folder.",
    )
    secret_file: AbsolutePath | None = Field(
        None,
        alias="CONTROL_SECRET_FILE",
        description="The key that machines' tokens are computed from, mode 600; made in the state folder.",
    )
    fleet: MachineName = Field(
        "default", alias="CONTROL_FLEET", description="Which machines are ours, by their label: one name for one fleet."
    )
    token: Token | None = Field(
        None, alias="CONTROL_TOKEN", description="A token that may do everything, beside those of users."
    )
    token_file: AbsolutePath | None = Field(
        None, alias="CONTROL_TOKEN_FILE", description="A file that holds it, read again for each request."
    )
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(parse_list)] = Field(
        (), alias="CONTROL_HOSTS", description="Names of this host besides its own, comma-separated."
    )
    inventory: AbsolutePath | None = Field(
        None, alias="CONTROL_INVENTORY", description="A JSON file of machines that somebody else owns."
    )
    docker_image: Annotated[str, AfterValidator(_image)] = Field(
        "", alias="CONTROL_DOCKER_IMAGE", description="The image of local-docker machines; empty: none of that type."
    )
    docker_repo: AbsolutePath | None = Field(
        None, alias="CONTROL_DOCKER_REPO", description="The repository on the engine's host that they mount read-only."
    )
    docker_url: str = Field("unix:///var/run/docker.sock", alias="DOCKER_HOST", description="The Docker engine.")
    daytona_key_file: AbsolutePath | None = Field(
        None, alias="CONTROL_DAYTONA_KEY_FILE", description="A file with Daytona's API key; empty: no such machines."
    )
    daytona_url: Annotated[str, AfterValidator(_http_url)] = Field(
        "", alias="CONTROL_DAYTONA_URL", description="Daytona's API, where it is not the public one."
    )
    daytona_snapshot: str = Field(
        "", alias="CONTROL_DAYTONA_SNAPSHOT", description="The snapshot that sandboxes are made from."
    )
    git_token_file: AbsolutePath | None = Field(
        None,
        alias="CONTROL_GIT_TOKEN_FILE",
        description="A file with the token that sandboxes fetch with, read again and sent along with each request.",
    )
    daytona_target: str = Field("", alias="CONTROL_DAYTONA_TARGET", description="The region that they are made in.")
    poll_interval: Seconds = Field(5, alias="CONTROL_POLL_INTERVAL", description="Pause between two looks at machines.")
    lease: Annotated[float, Field(ge=1, le=600)] = Field(
        30, alias="CONTROL_LEASE", description="After so long another control plane takes over what a dead one began."
    )
    refresh_timeout: Seconds = Field(1800, alias="CONTROL_REFRESH_TIMEOUT", description="Limit for one refresh.")
    provider_timeout: Seconds = Field(
        120, alias="CONTROL_PROVIDER_TIMEOUT", description="Limit for one call of an engine or a cloud."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", alias="CONTROL_LOG_FORMAT", description="auto: pretty on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="CONTROL_LOG_LEVEL", description="From which level on lines are written."
    )

    @property
    def secret_path(self) -> Path:
        return self.secret_file or self.state_dir / "secret"

    @property
    def database(self) -> str:
        return self.database_url.get_secret_value() or f"sqlite:///{self.state_dir / 'control.sqlite'}"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Raises ConfigurationError that lists everything wrong at once; no value of a secret is in it."""
        return read_environment(cls, environ, prefix=PREFIX)


if __name__ == "__main__":
    print(table(ControlSettings))  # noqa: T201 - this is the program's output
