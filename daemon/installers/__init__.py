"""What makes dependencies match the code. An installer is skipped when its last *success* was for the same input."""

from typing import Protocol

from daemon.trees import Tree


class Installer(Protocol):
    """`for_daemon`: what it installs is what the daemon itself imports."""

    name: str
    for_daemon: bool

    async def fingerprint(self, tree: Tree) -> str | None:
        """What an install depends on: manifests by content, tools by identity. None: not this installer's project."""

    async def installed(self) -> str | None:
        """The fingerprint of the last success, None when there was none or when what it made is gone."""

    async def stage(self, tree: Tree) -> None:
        """Fetches packages for `tree` into the store, so that `install` needs no network. Raises InstallError."""

    async def install(self, fingerprint: str, *, strict: bool) -> tuple[str, ...]:
        """Makes the dependencies those of the checkout, offline; then, and only then, records the success.

        Retries once with force. `strict`: manifests that are ahead of the lockfile are an error, else they are
        installed all the same and the returned notes say so. Raises InstallError with the tail of the output.
        """

    async def tidy(self) -> None:
        """Removes what a staging that was killed has left in the state folder. For the holder of the machine's lock."""
