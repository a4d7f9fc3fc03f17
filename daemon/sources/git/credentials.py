"""How git is given a token: asked once, for one host, and never where others could read it.

The token is in an anonymous file in memory whose descriptor only this one child inherits. Git starts a constant script
with its question, and the script reads the descriptor only if the question names exactly the remote's host: not for
another host that a redirect or a submodule leads to. Nothing of it is in argv, environment, configuration or on disk.
"""

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from daemon.files import write_atomically
from daemon.sources.git.urls import authority, shown

USER = "x-access-token"  # what hosting services expect beside a token; most accept any name

_SCRIPT = b"""\
#!/bin/sh
# Answers git's question for a password if it is the one host's; the descriptor is open in this command only.
[ "$1" = "Password for '$REFRESHD_ASKPASS_FOR': " ] || exit 1
IFS= read -r token <"/proc/self/fd/$REFRESHD_ASKPASS_FD" || exit 1
printf '%s\\n' "$token"
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one call of git is given; empty where there is no token for its remote."""

    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    pass_fds: tuple[int, ...] = ()
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        return bool(self.pass_fds)


class Credentials:
    """The token of one update, for the host of `url` and no other. It is asked for when it is first needed."""

    def __init__(self, *, url: str, token: Callable[[], Awaitable[str | None]], script: Path) -> None:
        self._authority = authority(url)
        self._token = token
        self._script = script

    @asynccontextmanager
    async def answer(self, url: str) -> AsyncIterator[Answer]:
        """Valid inside of the block. Without a token the user's own credential helpers keep their say."""
        asked = authority(url)
        token = await self._token() if asked and asked == self._authority else None
        if not asked or not token:
            yield Answer()
            return
        await asyncio.to_thread(_provide, self._script)
        with _in_memory(token.encode() + b"\n") as memory:
            yield self._prepared(shown(url), asked, token, memory.fileno())

    def _prepared(self, url: str, asked: str, token: str, descriptor: int) -> Answer:
        return Answer(
            config={
                "credential.helper": "",  # none may store the token, nor answer with an older one
                f"credential.{asked}.username": USER,
                f"credential.{asked}.useHttpPath": "false",
                f"http.{url}.extraHeader": "",  # where build systems like to leave an older token
            },
            env={
                "GIT_ASKPASS": str(self._script),
                "REFRESHD_ASKPASS_FOR": asked.replace("://", f"://{USER}@"),
                "REFRESHD_ASKPASS_FD": str(descriptor),
            },
            pass_fds=(descriptor,),
            secrets=(token, base64.b64encode(f"{USER}:{token}".encode()).decode()),
        )


def _in_memory(content: bytes) -> IO[bytes]:
    memory = open(os.memfd_create("refreshd-answer"), "wb", buffering=0)  # noqa: SIM115 - the caller closes it
    memory.write(content)
    return memory


def _provide(script: Path) -> None:
    script.parent.mkdir(parents=True, exist_ok=True)
    if not script.exists() or script.read_bytes() != _SCRIPT or not os.access(script, os.X_OK):
        write_atomically(script, _SCRIPT, mode=0o700)
