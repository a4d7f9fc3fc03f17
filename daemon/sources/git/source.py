"""The `git` source: exactly the commit that was asked for, from the checkout's remote, checked out detached."""

import asyncio
import copy
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from daemon.errors import CheckoutError, NoSpaceError, RefNotAllowedError, RefNotFoundError
from daemon.git import Git, parse_name_status
from daemon.refs import Ref, RefKind, parse_commit
from daemon.sources import Paths, Staged
from daemon.sources.blame import blamed
from daemon.sources.checkout import Repository, effective_url, git_in, make_repository, missing
from daemon.sources.git.credentials import Credentials
from daemon.sources.git.force import check_out
from daemon.sources.git.modules import checked_out
from daemon.sources.git.policy import EVERYTHING, RefPolicy, check
from daemon.sources.git.present import present
from daemon.sources.git.promised import fetch_promised
from daemon.sources.git.remote import FETCHED, Deadline, Remote
from daemon.sources.git.step import step
from daemon.sources.git.submodules import SubmoduleStage, check_out_submodules, leaving, remove_submodule
from daemon.sources.git.tree import LIST, GitTree, has_gitmodules
from daemon.sources.git.urls import shown
from daemon.tasks import together

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{7,39}")
_NEXT_TO_NOTHING = 1 << 20  # bytes
_HINTS = {
    RefKind.COMMIT: "it has no such commit; was it pushed?",
    RefKind.NAME: "it is neither a branch nor a tag there",
    RefKind.BRANCH: "there is no such branch",
    RefKind.FULL: "there is no such ref",
}


@dataclass(frozen=True)
class Located:
    """A commit that is present. `name`: the full name that led to it.

    `files`: their list, and `difference`: what `Repository.difference` says of it; each where git could tell.
    """

    commit: str
    name: str | None
    files: bytes | None
    difference: bytes | None


@dataclass(frozen=True, kw_only=True)
class StagedCommit(Staged):
    """`repository` is the checkout as it was found, `touched` the files that its commit and this one do not share.

    `moves_submodules`: some come, go or change.
    """

    commit: str
    repository: Repository
    touched: Paths
    moves_submodules: bool


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
                # what is there needs no remote, unless that has to vouch for it
                there = None if self._policy else await present(self._repo, ref, self._stage_timeout)
                return there or await self._stage(ref)

    async def _stage(self, ref: Ref) -> Staged:
        git = await git_in(self._repo, limit=self._stage_timeout)
        repository, absent = await together(Repository.describe(git), _missing(git, ref))
        remote = await self._remote(repository, ref)
        candidates = self._policy.candidates(ref)
        located = await _locate(remote, ref, candidates, absent)
        await check(self._policy, remote, located.commit, located.name)
        if repository.partial:
            await fetch_promised(remote, located.commit)
        submodules = SubmoduleStage(credentials=remote.credentials, deadline=remote.deadline, asked=ref.name)
        await submodules.fetch(repository, located.commit, remote.url, files=located.files)
        return await _describe(repository, located, submodules, remote.url)

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
                    _refuse_without_url(remote)
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
        )

    async def _remote_url(self, repository: Repository) -> str:
        """Empty where there is neither an origin nor a setting: a commit that is here needs no remote."""
        if repository.origin or not self._url:
            return repository.origin or ""
        return await effective_url(repository.git, self._url)


async def _step(repository: Repository, commit: str) -> None:
    await repository.locks.guarded(partial(step, repository, commit))


async def _missing(git: Git, ref: Ref) -> frozenset[str] | None:
    """Of what was asked for, where that is an id."""
    return await missing(git, ref.name) if ref.kind is RefKind.COMMIT else None


async def _locate(remote: Remote, ref: Ref, candidates: Sequence[str], absent: frozenset[str] | None) -> Located:
    """Makes the commit present. `absent`: what `_missing` says. Raises RefNotFoundError and `fetch`'s."""
    if ref.kind is RefKind.COMMIT:
        await _ensure_commit(remote, ref, absent)
        return await _commit_behind(remote, ref, ref.name, None)
    _refuse_without_url(remote)
    if remote.repository.shallow:
        return await _locate_in_shallow(remote, ref, candidates)
    # the branch by its full name is the common case, and costs one connection
    for name in candidates:
        try:
            await remote.fetch(name)
        except RefNotFoundError:
            continue
        return await _commit_behind(remote, ref, FETCHED, name)
    raise _not_found(remote, ref)


async def _ensure_commit(remote: Remote, ref: Ref, absent: frozenset[str] | None) -> None:
    repository = remote.repository
    if absent is None or (absent and not repository.partial):
        _refuse_without_url(remote)
        try:
            await remote.fetch(ref.name, depth=1 if repository.shallow else None)
        except RefNotFoundError:
            raise _not_found(remote, ref) from None


async def _locate_in_shallow(remote: Remote, ref: Ref, candidates: Sequence[str]) -> Located:
    """Asks for the id first: a shallow fetch of a commit that is here would cut its history off."""
    found = await remote.find(candidates)
    if found is None:
        raise _not_found(remote, ref)
    name, commit = found
    if await remote.repository.missing(commit) != frozenset():
        await remote.fetch(commit, depth=1)
    return await _commit_behind(remote, ref, commit, name)


async def _commit_behind(remote: Remote, ref: Ref, what: str, name: str | None) -> Located:
    """`what` is an id or a ref of ours."""
    repository = remote.repository
    commit, listed, difference = await together(
        repository.peeled(what),
        repository.git(*LIST, what, ok_codes=(0, 128)),
        repository.difference_if_known(what),
    )
    if commit is None:
        raise RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint="it is there but leads to no commit")
    return Located(commit, name, None if listed.code else listed.stdout, difference)


def _refuse_without_url(remote: Remote) -> None:
    if not remote.url:
        reason = "it has no remote named origin; add one, or set REFRESHD_GIT_URL"
        raise CheckoutError(path=str(remote.repository.folder), reason=reason)


def _not_found(remote: Remote, ref: Ref) -> RefNotFoundError:
    abbreviated = ref.kind is RefKind.NAME and _ABBREVIATED.fullmatch(ref.name)
    hint = "give all 40 digits of a commit id, or a branch or tag that exists" if abbreviated else _HINTS[ref.kind]
    return RefNotFoundError(ref=ref.name, remote=shown(remote.url), hint=hint)


async def _describe(repository: Repository, located: Located, submodules: SubmoduleStage, base: str) -> StagedCommit:
    commit = located.commit
    difference = await repository.difference(commit) if located.difference is None else located.difference
    current, gone = await together(
        _is_current(repository, commit, submodules.paths), _leaving(repository, located, difference, base)
    )
    notes = list(submodules.notes)
    if repository.branch and not current:
        notes.append(f"HEAD was on the branch {repository.branch.removeprefix('refs/heads/')} and is now detached")
    for path, nothing_of_the_users in gone.items():
        if not nothing_of_the_users:
            notes.append(f"{path} is no submodule any more; its folder stays, for it holds local files")
    return StagedCommit(
        commit=commit,
        ref=located.name,
        tree=GitTree(git=repository.git, commit=commit, listed=located.files),
        current=current,
        changes=parse_name_status(difference),
        submodules=tuple(submodules.paths),
        notes=tuple(notes),
        repository=repository,
        touched=frozenset(difference.split(b"\0")[1::2]),
        moves_submodules=bool(submodules.paths or gone),
    )


async def _leaving(repository: Repository, located: Located, difference: bytes, base: str) -> dict[str, bool]:
    """What `leaving` says; where neither commit has a .gitmodules, none does."""
    if located.files is not None and not has_gitmodules(located.files) and b".gitmodules\0" not in difference:
        return {}
    return await leaving(repository, located.commit, base, files=located.files)


async def _is_current(repository: Repository, commit: str, submodules: list[str]) -> bool:
    if commit != repository.head or not await repository.unmodified():
        return False
    # git says nothing of a submodule that was never checked out
    return all([await checked_out(repository.folder / path) for path in submodules])


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < _NEXT_TO_NOTHING
