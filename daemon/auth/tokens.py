"""Secrets in small files, and the one token that a machine can have beside its users."""

import asyncio
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from daemon.errors import ConfigurationError
from daemon.stamps import Stamp, stamp

MAX_TOKEN_FILE = 4096  # bytes


def _one_word(secret: SecretStr) -> SecretStr:
    """Files and shells add a newline around a token; inside of one there is none."""
    text = secret.get_secret_value().strip()
    if not text or not text.isprintable() or " " in text or len(text) > MAX_TOKEN_FILE:
        raise ValueError("it must be one word")
    return SecretStr(text)


Token = Annotated[SecretStr, AfterValidator(_one_word)]


class Tokens:
    """The configured token; a file is read again each time, so that it can be changed without a restart."""

    def __init__(self, token: SecretStr | None, token_file: Path | None) -> None:
        self._token = token
        self._file = token_file

    async def current(self) -> str | None:
        """None when no token is configured. Raises ConfigurationError for a file that is configured but unusable."""
        if self._file is None:
            return self._token.get_secret_value() if self._token else None
        return await asyncio.to_thread(read_secret, self._file)

    def stamp(self) -> Stamp:
        """Another one after a change of the file; always the same without one."""
        return stamp(self._file) if self._file else None


def read_secret(path: Path) -> str:
    """The first line of a small file. Raises ConfigurationError without the content; callers must fail closed."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_TOKEN_FILE + 1)
        token = content.decode().strip()
    except UnicodeDecodeError:
        raise ConfigurationError(problems=f"the token file {path} cannot be read: it is not UTF-8") from None
    except OSError as error:
        raise ConfigurationError(problems=f"the token file {path} cannot be read: {error.strerror}") from None
    if not token or len(content) > MAX_TOKEN_FILE or "\n" in token:
        raise ConfigurationError(problems=f"the token file {path} must hold one line, the token")
    return token
