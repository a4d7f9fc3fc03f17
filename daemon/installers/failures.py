"""From a child's failure to an error that a caller can act on."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from daemon.errors import CommandFailedError, CommandTimeoutError, InstallError, NoSpaceError

# pnpm 12 breaks its messages into lines of 80 characters
_FULL_DISK = re.compile(r"ENOSPC|EDQUOT|No\s+space\s+left\s+on\s+device|quota\s+exceeded", re.IGNORECASE)
_ERROR_CODE = re.compile(r"\bERR_[A-Z]+_[A-Z_]+")


@contextlib.contextmanager
def failures_named(installer: str, path: Path) -> Iterator[None]:
    """Turns what `process.run` raises into InstallError or, for a full disk, NoSpaceError of `path`."""
    try:
        yield
    except CommandFailedError as error:
        if is_full_disk(error):
            raise NoSpaceError(path=str(path), detail=error.detail) from error
        reason = f"`{error.command}` ended with exit code {error.exit_code}{_code_in(error.detail)}"
        raise InstallError(installer=installer, reason=reason, detail=error.detail) from error
    except CommandTimeoutError as error:
        reason = f"`{error.command}` did not end within {error.seconds:g} s"
        raise InstallError(installer=installer, reason=reason, detail=error.detail) from error


def is_full_disk(error: CommandFailedError) -> bool:
    return bool(_FULL_DISK.search(error.detail))


def tell_both(first: CommandFailedError, second: CommandFailedError) -> None:
    """Puts the first output before that of the retry, unless both tell of the same error."""
    codes = _ERROR_CODE.findall(first.detail)
    if not codes or codes != _ERROR_CODE.findall(second.detail):
        second.detail = f"{first.detail}\n--- and when tried again with force:\n{second.detail}"


def _code_in(output: str) -> str:
    found = _ERROR_CODE.search(output)
    return f" ({found[0]})" if found else ""
