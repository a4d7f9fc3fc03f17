"""What the environment says, read once by the composition root. Nothing else reads the environment."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from daemon.auth.tokens import Token
from daemon.errors import ConfigurationError

PREFIX = "REFRESHD_"
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]\s]*:[^\[\]\s]*)\]|(?P<host>[^\[\]:\s]*)):(?P<port>[0-9]{1,5})")
_HIGHEST_PORT = 65535


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> object:
    """`host:port`, `[v6]:port` or `:port`; an empty text or `none` switches the TCP listener off."""
    if not isinstance(value, str):
        return value
    if value in {"", "none"}:
        return None
    found = _ADDRESS.fullmatch(value)
    if not found or int(found["port"]) > _HIGHEST_PORT:
        raise ValueError("give host:port, such as 127.0.0.1:3000 or [::1]:3000, or none")
    return Address(found["v6"] or found["host"] or "0.0.0.0", int(found["port"]))  # noqa: S104 - what `:port` means


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("give an absolute path")
    return path


def _inside(path: Path) -> Path:
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("give a path inside the checkout, without ..")
    return path


def _without_credentials(url: str) -> str:
    """A URL is shown in messages and in the list of processes."""
    parts = urlsplit(url)
    if "@" in parts.netloc and parts.scheme in {"http", "https"}:
        raise ValueError("it holds credentials; give them in REFRESHD_GIT_TOKEN_FILE or REFRESHD_GIT_TOKEN")
    return url


def parse_list(value: object) -> object:
    """A list with commas between."""
    return tuple(filter(None, map(str.strip, value.split(",")))) if isinstance(value, str) else value


HostName = Annotated[str, BeforeValidator(str.lower), Field(pattern=r"^\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*$")]
RefPattern = Annotated[str, Field(pattern=r"^[^\x00-\x20\x7f~^:?\[\\]+$", max_length=255)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """Every setting under its environment name. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    repo: AbsolutePath = Field(
        alias="ITERATE_REPO", description="The checkout: the git working tree that is refreshed."
    )
    mount: AbsolutePath = Field(
        Path("/local-iterate-repo"),
        alias="ITERATE_REPO_LOCAL_DOCKER_MOUNT",
        description="The host's repository; where it exists, the environment is local-docker.",
    )
    os_sha: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})?$")] = Field(
        "", alias="ITERATE_GIT_SHA", description="The commit that the control plane runs; empty when unknown."
    )
    environment: Literal["", "daytona", "local-docker", "local"] = Field(
        "", alias="REFRESHD_ENVIRONMENT", description="Overrides the detection of the environment."
    )
    listen: Annotated[Address | None, BeforeValidator(parse_address)] = Field(
        Address("127.0.0.1", 3000), alias="REFRESHD_LISTEN", description="The TCP listener, host:port, or none."
    )
    socket: AbsolutePath | None = Field(
        None, alias="REFRESHD_SOCKET", description="The Unix socket; by default refreshd.sock in the run directory."
    )
    state_dir: AbsolutePath = Field(
        Path("/var/lib/refreshd"), alias="REFRESHD_STATE_DIR", description="What must survive a restart."
    )
    run_dir: AbsolutePath = Field(
        Path("/run/refreshd"), alias="REFRESHD_RUN_DIR", description="What may vanish with the machine's memory."
    )
    log_dir: AbsolutePath = Field(
        Path("/var/log/refreshd"), alias="REFRESHD_LOG_DIR", description="Where the machine's logger keeps the log."
    )
    token: Token | None = Field(None, alias="REFRESHD_TOKEN", description="Bearer token for the TCP listener.")
    token_file: AbsolutePath | None = Field(
        None, alias="REFRESHD_TOKEN_FILE", description="A file that holds it, read again for each request."
    )
    hosts: Annotated[tuple[HostName, ...], BeforeValidator(parse_list)] = Field(
        (),
        alias="REFRESHD_HOSTS",
        description="Names of this machine, with commas between; .example.com is all below it. Known without: "
        "addresses, localhost, the hostname.",
    )
    max_connections: Annotated[int, Field(ge=1, le=65_536)] = Field(
        512, alias="REFRESHD_MAX_CONNECTIONS", description="How many TCP connections may be open at a time."
    )
    git_token: Token | None = Field(
        None,
        alias="REFRESHD_GIT_TOKEN",
        description="Token for the git remote's host; GITHUB_TOKEN and GITHUB_ACCESS_TOKEN are the fallbacks.",
    )
    git_token_file: AbsolutePath | None = Field(
        None, alias="REFRESHD_GIT_TOKEN_FILE", description="A file that holds it, read again for each update."
    )
    git_url: Annotated[str, AfterValidator(_without_credentials)] = Field(
        "", alias="REFRESHD_GIT_URL", description="The remote, where the checkout has no origin."
    )
    commands: AbsolutePath | None = Field(
        None, alias="REFRESHD_COMMANDS", description="The folder of the command file that the machine's host watches."
    )
    refs: Annotated[tuple[RefPattern, ...], BeforeValidator(parse_list)] = Field(
        (),
        alias="REFRESHD_REFS",
        description="What may be asked of the git remote, with commas between: `main`, `release/*`, `refs/tags/v*`; "
        "a commit id has to be reachable from one of them. Empty: everything.",
    )
    allowed_signers: AbsolutePath | None = Field(
        None,
        alias="REFRESHD_ALLOWED_SIGNERS",
        description="A file of SSH keys (`man ssh-keygen`, ALLOWED SIGNERS); a commit from git must be signed by one.",
    )
    code_dir: Annotated[Path, AfterValidator(_inside)] = Field(
        Path(), alias="REFRESHD_CODE_DIR", description="The folder in the checkout that holds the daemon."
    )
    launcher: AbsolutePath | None = Field(
        None,
        alias="REFRESHD_LAUNCHER",
        description="Program that starts the checkout's daemon; set by the run trampoline. Empty: this interpreter.",
    )
    rescue: bool = Field(
        default=False,
        alias="REFRESHD_RESCUE",
        description="Set by the guard where the image's own daemon runs because the checkout's does not start.",
    )
    notification_fd: Annotated[int, Field(ge=3, le=1024)] | None = Field(
        None,
        alias="REFRESHD_NOTIFICATION_FD",
        description="Descriptor for the readiness newline; set by the trampoline.",
    )
    holder: AbsolutePath | None = Field(
        None,
        alias="REFRESHD_HOLDER",
        description="Where the holder of the listening sockets listens; set by the trampoline.",
    )
    stage_timeout: Seconds = Field(300, alias="REFRESHD_STAGE_TIMEOUT", description="Limit for all network work.")
    apply_timeout: Seconds = Field(120, alias="REFRESHD_APPLY_TIMEOUT", description="Limit for checkout or rsync.")
    install_timeout: Seconds = Field(600, alias="REFRESHD_INSTALL_TIMEOUT", description="Limit for each install.")
    check_timeout: Seconds = Field(60, alias="REFRESHD_CHECK_TIMEOUT", description="Limit for importing the new code.")
    undo_timeout: Seconds = Field(
        600, alias="REFRESHD_UNDO_TIMEOUT", description="Limit for putting the old state back."
    )
    restart_timeout: Seconds = Field(
        5, alias="REFRESHD_RESTART_TIMEOUT", description="How long requests in flight may take before the exit."
    )
    queue_timeout: Seconds = Field(
        30,
        alias="REFRESHD_QUEUE_TIMEOUT",
        description="How long clients wait for a start, or while code is put back, before they are told to come again.",
    )
    verify_timeout: Seconds = Field(30, alias="REFRESHD_VERIFY_TIMEOUT", description="Limit for the request to itself.")
    snapshots_keep: Annotated[int, Field(ge=1, le=10_000)] = Field(
        50, alias="REFRESHD_SNAPSHOTS_KEEP", description="How many snapshots are kept, the newest."
    )
    snapshots_max_mb: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        1024,
        alias="REFRESHD_SNAPSHOTS_MAX_MB",
        description="How much space they may take together, in MiB; the newest stays whatever it takes.",
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        "auto", alias="REFRESHD_LOG_FORMAT", description="auto: pretty on a terminal, JSON otherwise."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", alias="REFRESHD_LOG_LEVEL", description="Output of children is shown at debug."
    )

    @property
    def socket_path(self) -> Path:
        return self.socket or self.run_dir / "refreshd.sock"

    @property
    def code_path(self) -> Path:
        return self.repo / self.code_dir

    @property
    def has_token(self) -> bool:
        return self.token is not None or self.token_file is not None

    @classmethod
    def without_secrets(cls, environ: Mapping[str, str]) -> dict[str, str]:
        """The settings as they are in the environment, for a child that has to be configured as this process is."""
        own = {"token", "git_token", "rescue", "notification_fd"}
        known = {str(field.alias) for name, field in cls.model_fields.items() if name not in own}
        return {name: environ[name] for name in known if name in environ}

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Raises ConfigurationError that lists everything wrong at once; no value of a secret is in it."""
        fallback = next((environ[n] for n in ("GITHUB_TOKEN", "GITHUB_ACCESS_TOKEN") if environ.get(n)), None)
        named = any(environ.get(name) for name in ("REFRESHD_GIT_TOKEN", "REFRESHD_GIT_TOKEN_FILE"))
        more = {"REFRESHD_GIT_TOKEN": fallback} if fallback and not named else {}
        return read_environment(cls, {**environ, **more}, prefix=PREFIX, keep_empty={"REFRESHD_LISTEN"})


# the image that starts the code of an older commit may tell it something that it does not know yet
OF_A_NEWER_IMAGE = "REFRESHD_IMAGE_"

Model = TypeVar("Model", bound=BaseModel)


def read_environment(
    model: type[Model], environ: Mapping[str, str], *, prefix: str, keep_empty: AbstractSet[str] = frozenset()
) -> Model:
    """Raises ConfigurationError that lists everything wrong at once; no value of a secret is in it."""
    known = {str(field.alias) for field in model.model_fields.values()}
    ours = [name for name in environ if name.startswith(prefix) and not name.startswith(OF_A_NEWER_IMAGE)]
    problems = [_unknown(name, known) for name in ours if name not in known]
    # an empty variable is an unset one, except where empty has a meaning of its own
    given = {n: environ[n] for n in known if environ.get(n, "") or (n in keep_empty and n in environ)}
    try:
        settings = model.model_validate(given)
    except ValidationError as error:
        problems += [f"{'.'.join(map(str, e['loc'][:1]))}: {_sentence(e['msg'], e['type'])}" for e in error.errors()]
    else:
        if not problems:
            return settings
    raise ConfigurationError(problems="; ".join(problems)) from None


def _unknown(name: str, known: set[str]) -> str:
    import difflib  # noqa: PLC0415 - only for who has mistyped a name

    nearest = difflib.get_close_matches(name, known, n=1)
    return f"{name} is not a setting" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _sentence(message: str, kind: str) -> str:
    return "it must be set" if kind == "missing" else message.removeprefix("Value error, ")


def table(model: type[BaseModel] = Settings) -> str:
    """Every setting with its default, as Markdown: the README's table."""
    rows = [f"| `{field.alias}` | {_default(field)} | {field.description} |" for field in model.model_fields.values()]
    return "\n".join(["| variable | default | what it says |", "| --- | --- | --- |", *rows])


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return f"`{field.default}`" if field.default not in {None, "", ()} else "-"


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is the program's output
