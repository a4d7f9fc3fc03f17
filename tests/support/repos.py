"""Small git repositories for tests: a fixed author, a fixed clock that moves on, no configuration of the machine."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ISOLATED = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.invalid",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.invalid",
    "LC_ALL": "C.UTF-8",
}
_OPTIONS = (
    *("-c", "init.defaultBranch=main"),
    *("-c", "protocol.file.allow=always"),
    *("-c", "safe.directory=*"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
    *("-c", "commit.gpgSign=false"),
    *("-c", "advice.detachedHead=false"),
)


def git(folder: Path, *words: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> str:
    """The output without its last newline. Raises AssertionError with what git said."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ("git", *_OPTIONS, *words),
        cwd=folder,
        env={**own, **ISOLATED, **(env or {})},
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"git {words}: {done.stderr.decode(errors='replace')}"
    return os.fsdecode(done.stdout).removesuffix("\n")


@dataclass(frozen=True)
class Repo:
    path: Path

    @classmethod
    def create(cls, path: Path, *, bare: bool = False) -> Self:
        path.mkdir(parents=True, exist_ok=True)
        git(path, "init", "--quiet", "--template=", *(("--bare",) if bare else ()))
        return cls(path)

    @classmethod
    def clone(cls, url: str | Path, path: Path, *options: str) -> Self:
        git(path.parent, "clone", "--quiet", "--template=", *options, "--", str(url), str(path))
        return cls(path)

    def git(self, *words: str | Path, stdin: bytes = b"") -> str:
        return git(self.path, *words, stdin=stdin)

    def commit(self, files: dict[str, str | bytes | None], message: str = "change") -> str:
        """Writes the files (None deletes one), commits everything, and returns the id."""
        for name, content in files.items():
            self.write(name, content)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", f"--message={message}")
        return self.head

    def write(self, name: str, content: str | bytes | None) -> None:
        path = self.path / name
        if content is None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def add_submodule(self, url: str, path: str, *, name: str = "") -> str:
        """Commits it; the URL is recorded as given and the commit is that of its default branch. Returns the new id."""
        self.git("submodule", "--quiet", "add", *(("--name", name) if name else ()), "--", url, path)
        return self.commit({}, f"add {path}")

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    @property
    def branch(self) -> str | None:
        """None when HEAD is detached."""
        name = self.git("rev-parse", "--symbolic-full-name", "HEAD")
        return None if name == "HEAD" else name

    @property
    def refs(self) -> dict[str, str]:
        lines = (line.split() for line in self.git("for-each-ref", "--format=%(refname) %(objectname)").splitlines())
        return {name: value for name, value in lines}  # noqa: C416 - the pairs are lists

    @property
    def status(self) -> str:
        return self.git("status", "--porcelain")
