"""The new code is imported and configured by a child before anything restarts; its byte code is written on the way."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from daemon.errors import CheckError, CommandFailedError, CommandTimeoutError, RefreshdError
from daemon.process import Command, run


class Checker:
    """Runs `refreshd check` from the code that is on disk now.

    `launcher` starts the checkout's daemon as the supervisor will; without one this interpreter does.
    `environment` holds the settings, which children do not inherit; no secret is in it.
    """

    def __init__(
        self, *, code_path: Path, launcher: Path | None, environment: Mapping[str, str], timeout: float
    ) -> None:
        self._code_path = code_path
        self._launcher = launcher
        self._environment = environment
        self._timeout = timeout

    async def check(self) -> str:
        """Returns the version of the new code. Raises CheckError with the tail of what it printed."""
        start = (self._launcher,) if self._launcher else (sys.executable, "-m", "daemon")
        command = Command(
            argv=(*start, "check"),
            cwd=self._code_path,
            env=self._environment,
            timeout=self._timeout,
            shown="refreshd check",
        )
        try:
            result = await run(command)
        except CommandFailedError as error:
            reason = f"it ends with exit code {error.exit_code} when it is imported and configured"
            raise CheckError(reason=reason, detail=error.detail) from None
        except CommandTimeoutError as error:
            reason = f"it was not imported within {error.seconds:g} s"
            raise CheckError(reason=reason, detail=error.detail) from None
        except RefreshdError as error:
            raise CheckError(reason=str(error)) from None
        return _version(result.text)


def _version(text: str) -> str:
    """The last line is the verdict; whatever an import printed stands before it."""
    try:
        verdict = json.loads(text.splitlines()[-1])
        return str(verdict["version"])
    except (ValueError, LookupError, TypeError):
        raise CheckError(reason="it did not answer as `refreshd check` does", detail=text[-500:]) from None
