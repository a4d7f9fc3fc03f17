"""An upstream repository behind a git server, a clone of it, and the git source that refreshes the clone."""

import atexit
import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from daemon.refs import Ref, parse_ref
from daemon.sources import Staged
from daemon.sources.git import GitSource, RefPolicy
from daemon.sources.git.policy import EVERYTHING
from tests.support.git_server import GitServer
from tests.support.repos import Repo

_PLACEHOLDER = "http://upstream.invalid/project.git"


@dataclass
class GitLab:
    """`work` is where upstream's commits are made; `publish` makes them public."""

    folder: Path
    server: GitServer
    work: Repo
    checkout: Repo
    token: str | None = None
    stack: ExitStack = field(default_factory=ExitStack)

    @property
    def url(self) -> str:
        return f"{self.server.url}/project.git"

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def source(
        self, *, url: str = "", stage_timeout: float = 60, apply_timeout: float = 60, policy: RefPolicy = EVERYTHING
    ) -> GitSource:
        return GitSource(
            repo=self.checkout.path,
            url=url,
            token=self.read_token,
            run_dir=self.run_dir,
            stage_timeout=stage_timeout,
            apply_timeout=apply_timeout,
            policy=policy,
        )

    async def read_token(self) -> str | None:
        return self.token

    async def stage(self, target: str | Ref, *, stage_timeout: float = 60) -> Staged:
        ref = parse_ref(target) if isinstance(target, str) else target
        return await self.source(stage_timeout=stage_timeout).stage(ref)

    async def refresh(self, target: str) -> Staged:
        source = self.source()
        staged = await source.stage(parse_ref(target))
        await source.apply(staged)
        return staged

    def publish(self, files: dict[str, str | bytes | None], message: str = "change", *, branch: str = "main") -> str:
        commit = self.work.commit(files, message)
        self.push(f"HEAD:refs/heads/{branch}")
        return commit

    def push(self, *refspecs: str) -> None:
        self.work.git("push", "--quiet", "--force", "upstream", *refspecs)

    def clone(self, *options: str) -> Repo:
        """Replaces the checkout by another clone."""
        path = self.folder / f"checkout{len(list(self.folder.iterdir()))}"
        self.checkout = Repo.clone(self.url, path, *options)
        self.server.requests.clear()
        return self.checkout

    def second_server(self, root: Path | None = None, token: str | None = None) -> GitServer:
        return self.stack.enter_context(GitServer(root or self.server.root, token))

    def upstream(self, name: str) -> Repo:
        """Another public repository, as its work tree; `push upstream` publishes."""
        bare = Repo.create(self.server.root / f"{name}.git", bare=True)
        work = Repo.create(self.folder / f"work-{name}")
        work.git("remote", "add", "upstream", bare.path)
        return work


@contextmanager
def git_lab(folder: Path) -> Iterator[GitLab]:
    """One commit on `main`, cloned; the server has no token yet and its log is empty."""
    for part in template().iterdir():
        shutil.copytree(part, folder / part.name)
    with ExitStack() as stack:
        server = stack.enter_context(GitServer(folder / "served"))
        checkout = Repo(folder / "checkout")
        config = checkout.path / ".git" / "config"
        config.write_text(config.read_text().replace(_PLACEHOLDER, f"{server.url}/project.git"))
        yield GitLab(folder=folder, server=server, work=Repo(folder / "work"), checkout=checkout, stack=stack)


@functools.cache
def template() -> Path:
    """Made once: to copy a few small repositories takes a tenth of the time that git takes to make them."""
    folder = Path(tempfile.mkdtemp(prefix="git-lab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bare = Repo.create(folder / "served" / "project.git", bare=True)
    work = Repo.create(folder / "work")
    work.git("remote", "add", "upstream", "../served/project.git")
    work.commit({"code": "one\n", "kept": "kept\n"}, "first")
    work.git("push", "--quiet", "upstream", "HEAD:refs/heads/main")
    checkout = Repo.clone(bare.path, folder / "checkout", "--no-local")
    checkout.git("remote", "set-url", "origin", _PLACEHOLDER)
    return folder
