"""The `git` source: exactly the commit that was asked for, from the checkout's remote, checked out detached."""

import asyncio
import copy
import os
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from daemon.errors import CheckoutError, NoSpaceError, RefNotAllowedError
from daemon.refs import Ref, parse_commit
from daemon.sources import Listener, Paths, Staged
from daemon.sources.blame import blamed
from daemon.sources.checkout import Repository, effective_url, git_in, make_repository
from daemon.sources.git.credentials import Credentials
from daemon.sources.git.force import check_out
from daemon.sources.git.locate import locate, missing_of, refuse_without_url
from daemon.sources.git.policy import EVERYTHING, RefPolicy, check
from daemon.sources.git.present import present
from daemon.sources.git.promised import fetch_promised
from daemon.sources.git.remote import Deadline, Remote
from daemon.sources.git.staged import StagedCommit, describe
from daemon.sources.git.step import step
from daemon.sources.git.submodules import SubmoduleStage, check_out_submodules, leaving, remove_submodule
from daemon.tasks import together

_NEXT_TO_NOTHING = 1 << 20  # bytes


class GitSource:
    """One update at a time may stage: what is fetched goes through one ref."""

    name = "git"

    def __init__(
        self,
        *,
        repo: Path,
        url: str,
        token: Callable[[], Awaitable[str | None]],
        run_dir: Path,
        stage_timeout: float,
        apply_timeout: float,
        policy: RefPolicy = EVERYTHING,
    ) -> None:
        """`url` is used where the checkout has no origin; `token` is asked each time that a remote is."""
        self._policy = policy
        self._repo = repo
        self._url = url
        self._token = token
        self._askpass = run_dir / "askpass"
        self._stage_timeout = stage_timeout
        self._apply_timeout = apply_timeout
        self._staging = asyncio.Lock()
        self._listener: Listener | None = None

    def with_token(self, token: SecretStr) -> "GitSource":
        async def given() -> str:
            return token.get_secret_value()

        other = copy.copy(self)
        other._token = given  # noqa: SLF001 - its own class
        return other

    def telling(self, listener: Listener) -> "GitSource":
        other = copy.copy(self)
        other._listener = listener  # noqa: SLF001 - its own class
        return other

    async def prepare(self) -> None:
        await make_repository(self._repo, limit=self._apply_timeout)

    async def stage(self, ref: Ref) -> Staged:
        """Raises what the protocol says, and ConfigurationError when the token cannot be read."""
        async with self._staging:
            # what fails at the remote is that remote's; everything else is the checkout's
            with blamed(CheckoutError, self._repo):
                # what is there needs no remote, unless that has to vouch for it
                there = None if self._policy else await present(self._repo, ref, self._stage_timeout)
                return there or await self._stage(ref)

    async def _stage(self, ref: Ref) -> Staged:
        git = await git_in(self._repo, limit=self._stage_timeout)
        repository, absent = await together(Repository.describe(git), missing_of(git, ref))
        remote = await self._remote(repository, ref)
        candidates = self._policy.candidates(ref)
        located = await locate(remote, ref, candidates, absent)
        await check(self._policy, remote, located.commit, located.name)
        if repository.partial:
            await fetch_promised(remote, located.commit)
        submodules = SubmoduleStage(credentials=remote.credentials, deadline=remote.deadline, asked=ref.name)
        await submodules.fetch(repository, located.commit, remote.url, files=located.files)
        return await describe(repository, located, submodules, remote.url)

    @property
    def narrowed(self) -> bool:
        return bool(self._policy)

    async def vouch(self, commit: str, came_as: Iterable[str]) -> None:
        """Asks the remote only where no ref that is allowed has led to it. Raises what the protocol says."""
        name = next(filter(self._policy.allows, came_as), None)
        async with self._staging:
            with blamed(CheckoutError, self._repo):
                repository = await Repository.open(self._repo, limit=self._stage_timeout)
                remote = await self._remote(repository, parse_commit(commit))
                if await repository.peeled(commit) is None:
                    raise RefNotAllowedError(ref=commit, reason="the checkout has it no more")
                if name is None and self._policy.patterns:
                    refuse_without_url(remote)
                await check(self._policy, remote, commit, name)

    async def apply(self, staged: Staged, *, pristine: bool = False) -> Paths | None:
        """Needs no network. Raises CheckoutError, NoSpaceError, CommandTimeoutError, EditedSinceError."""
        if not isinstance(staged, StagedCommit):
            raise TypeError("this was staged by another source")
        try:
            with blamed(CheckoutError, self._repo):
                if staged.moves_submodules:
                    await self._check_out_with_submodules(staged.commit)
                else:
                    repository = staged.repository.limited(self._apply_timeout)
                    await (_step if pristine else check_out)(repository, staged.commit)
        except CheckoutError as error:
            # of a full disk a checkout says no more than this
            if "unable to write" in error.detail and await asyncio.to_thread(_is_full, self._repo):
                raise NoSpaceError(path=str(self._repo), detail=error.detail) from error
            raise
        return staged.touched

    async def _check_out_with_submodules(self, commit: str) -> None:
        repository = await Repository.open(self._repo, limit=self._apply_timeout)
        base = await self._remote_url(repository)
        for path, nothing_of_the_users in (await leaving(repository, commit, base)).items():
            if nothing_of_the_users:
                await remove_submodule(repository, path)
        await check_out(repository, commit)
        await check_out_submodules(repository, commit, base)

    async def _remote(self, repository: Repository, ref: Ref) -> Remote:
        url = await self._remote_url(repository)
        return Remote(
            repository=repository,
            url=url,
            name="origin" if repository.origin else None,
            credentials=Credentials(url=url, token=self._token, script=self._askpass),
            deadline=Deadline(self._stage_timeout),
            asked=ref.name,
            listener=self._listener,
        )

    async def _remote_url(self, repository: Repository) -> str:
        """Empty where there is neither an origin nor a setting: a commit that is here needs no remote."""
        if repository.origin or not self._url:
            return repository.origin or ""
        return await effective_url(repository.git, self._url)


async def _step(repository: Repository, commit: str) -> None:
    await repository.locks.guarded(partial(step, repository, commit))


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING
