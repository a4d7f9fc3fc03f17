"""The real gate over a folder of the test."""

from pathlib import Path

from pydantic import SecretStr

from daemon.auth.access import Gate
from daemon.auth.hosts import Hosts
from daemon.auth.sessions import Sessions
from daemon.auth.tokens import Tokens
from daemon.auth.users import Users

NOWHERE = Path("/nowhere")  # a folder without users


def gate(
    folder: Path = NOWHERE, *, token: str | None = None, token_file: Path | None = None, hosts: tuple[str, ...] = ()
) -> Gate:
    return Gate(
        tokens=Tokens(SecretStr(token) if token else None, token_file),
        users=Users(folder / "users.json"),
        sessions=Sessions(folder / "session.key"),
        hosts=Hosts(hosts),
    )
