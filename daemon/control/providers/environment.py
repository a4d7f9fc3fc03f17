"""Which variables a machine may be created with."""

import re
from collections.abc import Mapping

from daemon.control.errors import MachineSpecError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# the provider decides how a machine is reached and by whom, and where its code comes from
_OURS = frozenset(
    {
        "ITERATE_GIT_SHA",
        "ITERATE_REPO_LOCAL_DOCKER_MOUNT",
        "REFRESHD_ENVIRONMENT",
        "REFRESHD_LISTEN",
        "REFRESHD_TOKEN",
        "REFRESHD_TOKEN_FILE",
    }
)
MAX_VALUE = 32 * 1024  # bytes


def checked(env: Mapping[str, str]) -> dict[str, str]:
    """Raises MachineSpecError, which names the variable and never its value."""
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise MachineSpecError(reason=f"{name[:40]!r} is no name for a variable")
        if name in _OURS:
            raise MachineSpecError(reason=f"{name} is set by the control plane")
        if "\0" in value or len(value.encode()) > MAX_VALUE:
            raise MachineSpecError(reason=f"the value of {name} is longer than {MAX_VALUE} bytes or holds a NUL")
    return dict(env)
