"""The one secret of the control plane, and the tokens of machines, which are computed from it and kept nowhere.

A machine carries a random salt as a label; its token is the keyed hash of it. So the database holds no token that a
backup could leak, control planes that share the key agree without talking, and another key is a rotation of all.
"""

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from daemon.errors import ConfigurationError

KEY_BYTES = 32
SALT_BYTES = 16


def load_key(path: Path) -> bytes:
    """Makes the file where there is none. Raises ConfigurationError for a file that others may read, or a short one."""
    try:
        with contextlib.suppress(FileExistsError):
            _create(path)
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(problems=f"the secret {path} is open to others; make its mode 600")
        key = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(problems=f"the secret {path} cannot be read ({type(error).__name__})") from None
    if len(key) < KEY_BYTES:
        raise ConfigurationError(problems=f"the secret {path} is too short; remove it, and a new one is made")
    return key


def _create(path: Path) -> None:
    """Whole or not at all, also where two control planes start at once."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        os.link(aside, path)
    finally:
        aside.unlink()


def new_salt() -> str:
    return secrets.token_hex(SALT_BYTES)


class MachineTokens:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def token_for(self, salt: str) -> str:
        digest = hmac.new(self._key, f"machine token: {salt}".encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")
