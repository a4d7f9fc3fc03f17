"""Whether a commit that was here before may be gone back to: by the rules for what may come from the remote.

Only what somebody asks for is held to them. The machine's own way back, from an update that fails or from code that
dies, never is: it leads to what ran a moment ago, and has to work without a remote.
"""

from pydantic import SecretStr

from daemon.errors import RefNotAllowedError, WayBackNotAllowedError
from daemon.journal import Journal
from daemon.sources import Source, Vouches, with_token


class Permission:
    def __init__(self, source: Source | None, journal: Journal) -> None:
        self._source = source
        self._journal = journal

    def with_token(self, git_token: SecretStr | None) -> "Permission":
        """The remote is asked with it, as for an update. Raises BadRequestError."""
        return self if git_token is None else Permission(with_token(self._source, git_token), self._journal)

    async def require(self, commit: str) -> None:
        """Raises WayBackNotAllowedError, and what staging raises where the remote has to be asked."""
        if not isinstance(self._source, Vouches) or not self._source.narrowed:
            return
        try:
            await self._source.vouch(commit, await self._came_as(commit, self._source.name))
        except RefNotAllowedError as error:
            raise WayBackNotAllowedError(ref=error.ref, reason=error.reason, detail=error.detail) from error

    async def _came_as(self, commit: str, source: str) -> list[str]:
        history = await self._journal.history()
        return [
            update.ref for update in history if update.ref and (update.source, update.to_commit) == (source, commit)
        ]
