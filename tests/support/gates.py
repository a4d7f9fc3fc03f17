"""The real gate over a folder of the test."""

from pathlib import Path

from pydantic import SecretStr

from daemon.access import Gate
from daemon.hosts import Hosts
from daemon.sessions import Sessions
from daemon.tokens import Tokens
from daemon.users import Users

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
