"""What is staged: a commit that is here, and how the checkout differs from it."""

from dataclasses import dataclass

from daemon.difference import Difference
from daemon.sources import Paths, Staged
from daemon.sources.checkout import Repository
from daemon.sources.git.locate import Located
from daemon.sources.git.modules import checked_out
from daemon.sources.git.submodules import SubmoduleStage, leaving
from daemon.sources.git.tree import GitTree, has_gitmodules
from daemon.tasks import together


@dataclass(frozen=True, kw_only=True)
class StagedCommit(Staged):
    """`repository` is the checkout as it was found, `moves_submodules`: some come, go or change."""

    commit: str
    step: Difference
    repository: Repository
    moves_submodules: bool

    @property
    def touched(self) -> Paths:
        """The files that its commit and this one do not share."""
        return self.step.names


async def describe(repository: Repository, located: Located, submodules: SubmoduleStage, base: str) -> StagedCommit:
    commit = located.commit
    raw = await repository.difference(commit) if located.difference is None else located.difference
    step = Difference(located.tree, raw)
    current, gone = await together(
        _is_current(repository, commit, submodules.paths), _leaving(repository, located, step, base)
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
        changes=step.changes,
        coming=step.added,
        step=step,
        submodules=tuple(submodules.paths),
        notes=tuple(notes),
        repository=repository,
        moves_submodules=bool(submodules.paths or gone),
    )


async def _leaving(repository: Repository, located: Located, step: Difference, base: str) -> dict[str, bool]:
    """What `leaving` says; where neither commit has a .gitmodules, none does."""
    if located.files is not None and not has_gitmodules(located.files) and b".gitmodules" not in step.names:
        return {}
    return await leaving(repository, located.commit, base, files=located.files)


async def _is_current(repository: Repository, commit: str, submodules: list[str]) -> bool:
    if commit != repository.head or not await repository.unmodified():
        return False
    # git says nothing of a submodule that was never checked out
    return all([await checked_out(repository.folder / path) for path in submodules])
