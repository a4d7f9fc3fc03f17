"""The `git` source: exactly the commit that was asked for, from the checkout's remote, checked out detached."""

import asyncio
import copy
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from pydantic import SecretStr

from daemon.errors import CheckoutError, NoSpaceError, RefNotFoundError
from daemon.refs import Ref, RefKind
from daemon.sources import Paths, Staged
from daemon.sources.blame import blamed
from daemon.sources.checkout import Repository, effective_url, make_repository
from daemon.sources.git.credentials import Credentials
from daemon.sources.git.modules import checked_out
from daemon.sources.git.policy import EVERYTHING, RefPolicy, check
from daemon.sources.git.promised import fetch_promised
from daemon.sources.git.remote import FETCHED, Deadline, Remote
from daemon.sources.git.submodules import SubmoduleStage, check_out_submodules, leaving, remove_submodule
from daemon.sources.git.tree import GitTree
from daemon.sources.git.urls import shown

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{7,39}")
_NEXT_TO_NOTHING = 1 << 20  # bytes
_HINTS = {
    RefKind.COMMIT: "it has no such commit; was it pushed?",
    RefKind.NAME: "it is neither a branch nor a tag there",
    RefKind.BRANCH: "there is no such branch",
    RefKind.FULL: "there is no such ref",
}


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

    def with_token(self, token: SecretStr) -> "GitSource":
        async def given() -> str:
            return token.get_secret_value()

        other = copy.copy(self)
        other._token = given  # noqa: SLF001 - its own class
        return other

    async def prepare(self) -> None:
        await make_repository(self._repo, limit=self._apply_timeout)

    async def stage(self, ref: Ref) -> Staged:
        """Raises what the protocol says, and ConfigurationError when the token cannot be read."""
        async with self._staging:
            # what fails at the remote is that remote's; everything else is the checkout's
            with blamed(CheckoutError, self._repo):
                return await self._stage(ref)

    async def _stage(self, ref: Ref) -> Staged:
        repository = await Repository.open(self._repo, limit=self._stage_timeout)
        remote = await self._remote(repository, ref)
        candidates = self._policy.candidates(ref)
        commit, name = await _locate(remote, ref, candidates)
        await check(self._policy, remote, commit, name)
        if repository.partial:
            await fetch_promised(remote, commit)
        submodules = SubmoduleStage(credentials=remote.credentials, deadline=remote.deadline, asked=ref.name)
        await submodules.fetch(repository, commit, remote.url)
        return await _describe(repository, commit, name, submodules, remote.url)

    async def apply(self, staged: Staged) -> Paths | None:
        """Needs no network. Raises CheckoutError, NoSpaceError, CommandTimeoutError."""
        if staged.commit is None:
            raise CheckoutError(path=str(self._repo), reason="the update names no commit")
        repository = await Repository.open(self._repo, limit=self._apply_timeout)
        try:
            with blamed(CheckoutError, self._repo):
                touched = await repository.differing(staged.commit)
                await self._check_out(repository, staged.commit)
        except CheckoutError as error:
            # of a full disk a checkout says no more than this
            if "unable to write" in error.detail and await asyncio.to_thread(_is_full, repository.folder):
                raise NoSpaceError(path=str(self._repo), detail=error.detail) from error
            raise
        return touched

    async def _check_out(self, repository: Repository, commit: str) -> None:
        base = await self._remote_url(repository)
        for path, nothing_of_the_users in (await leaving(repository, commit, base)).items():
            if nothing_of_the_users:
                await remove_submodule(repository, path)
        words = ("checkout", "--quiet", "--force", "--detach", "--no-recurse-submodules", commit, "--")
        await repository.locks.guarded(lambda: repository.git(*words))
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
        )

    async def _remote_url(self, repository: Repository) -> str:
        """Empty where there is neither an origin nor a setting: a commit that is here needs no remote."""
        if repository.origin or not self._url:
            return repository.origin or ""
        return await effective_url(repository.git, self._url)


async def _locate(remote: Remote, ref: Ref, candidates: Sequence[str]) -> tuple[str, str | None]:
    """Makes the commit present; its id, and the full name that led to it. Raises RefNotFoundError and `fetch`'s."""
    if ref.kind is RefKind.COMMIT:
        await _ensure_commit(remote, ref)
        return await _commit_behind(remote, ref, ref.name), None
    _refuse_without_url(remote)
    if remote.repository.shallow:
        return await _locate_in_shallow(remote, ref, candidates)
    # the branch by its full name is the common case, and costs one connection
    for name in candidates:
        try:
            await remote.fetch(name)
        except RefNotFoundError:
            continue
        return await _commit_behind(remote, ref, FETCHED), name
    raise _not_found(remote, ref)


async def _ensure_commit(remote: Remote, ref: Ref) -> None:
    repository = remote.repository
    missing = await repository.missing(ref.name)
    if missing is None or (missing and not repository.partial):
        _refuse_without_url(remote)
        try:
            await remote.fetch(ref.name, depth=1 if repository.shallow else None)
        except RefNotFoundError:
            raise _not_found(remote, ref) from None


async def _locate_in_shallow(remote: Remote, ref: Ref, candidates: Sequence[str]) -> tuple[str, str]:
    """Asks for the id first: a shallow fetch of a commit that is here would cut its history off."""
    found = await remote.find(candidates)
    if found is None:
        raise _not_found(remote, ref)
    name, commit = found
    if await remote.repository.missing(commit) != frozenset():
        await remote.fetch(commit, depth=1)
    return await _commit_behind(remote, ref, commit), name


async def _commit_behind(remote: Remote, ref: Ref, name: str) -> str:
    commit = await remote.repository.peeled(name)
    if commit is None:
        raise RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint="it is there but leads to no commit")
    return commit


def _refuse_without_url(remote: Remote) -> None:
    if not remote.url:
        reason = "it has no remote named origin; add one, or set REFRESHD_GIT_URL"
        raise CheckoutError(path=str(remote.repository.folder), reason=reason)


def _not_found(remote: Remote, ref: Ref) -> RefNotFoundError:
    abbreviated = ref.kind is RefKind.NAME and _ABBREVIATED.fullmatch(ref.name)
    hint = "give all 40 digits of a commit id, or a branch or tag that exists" if abbreviated else _HINTS[ref.kind]
    return RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint=hint)


async def _describe(
    repository: Repository, commit: str, name: str | None, submodules: SubmoduleStage, base: str
) -> Staged:
    current, changes, gone = await asyncio.gather(
        _is_current(repository, commit, submodules.paths),
        repository.changes(commit),
        leaving(repository, commit, base),
    )
    notes = list(submodules.notes)
    if repository.branch and not current:
        notes.append(f"HEAD was on the branch {repository.branch.removeprefix('refs/heads/')} and is now detached")
    for path, nothing_of_the_users in gone.items():
        if not nothing_of_the_users:
            notes.append(f"{path} is no submodule any more; its folder stays, for it holds local files")
    return Staged(
        commit=commit,
        ref=name,
        tree=GitTree(git=repository.git, commit=commit),
        current=current,
        changes=changes,
        submodules=tuple(submodules.paths),
        notes=tuple(notes),
    )


async def _is_current(repository: Repository, commit: str, submodules: list[str]) -> bool:
    if commit != repository.head or not await repository.unmodified():
        return False
    # git says nothing of a submodule that was never checked out
    return all([await checked_out(repository.folder / path) for path in submodules])


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING
