"""Small pnpm workspaces of real packages: a root, a package of its own, and a lockfile that pnpm made."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.trees import FolderTree
from tests.support.repos import git

MANIFEST: dict[str, Any] = {
    "name": "demo",
    "version": "1.0.0",
    "private": True,
    "dependencies": {"@demo/lib": "workspace:*", "is-number": "7.0.0"},
    "devDependencies": {"is-odd": "3.0.1"},
}
LIBRARY: dict[str, Any] = {
    "name": "@demo/lib",
    "version": "1.0.0",
    "main": "index.js",
    "dependencies": {"left-pad": "1.3.0"},
}
FILES = {
    ".gitignore": "node_modules/\n",
    "package.json": json.dumps(MANIFEST),
    "pnpm-workspace.yaml": "packages:\n  - packages/*\n",
    "packages/lib/package.json": json.dumps(LIBRARY),
    "packages/lib/index.js": "module.exports = require('left-pad')\n",
}


@dataclass(frozen=True)
class Workspace:
    root: Path

    @classmethod
    def create(cls, root: Path, files: Mapping[str, str] = FILES) -> "Workspace":
        """A git repository without a commit and without a lockfile."""
        root.mkdir(parents=True)
        git(root, "init", "--quiet")
        workspace = cls(root)
        for path, content in files.items():
            workspace.write(path, content)
        return workspace

    def copy(self, root: Path) -> "Workspace":
        shutil.copytree(self.root, root, symlinks=True)
        return Workspace(root)

    def write(self, path: str, content: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def change_manifest(self, path: str = "package.json", **fields: Any) -> None:
        manifest = json.loads((self.root / path).read_text())
        self.write(path, json.dumps(manifest | fields))

    def depend_on(self, **packages: str) -> None:
        """Adds dependencies to the root's manifest and to nothing else."""
        dependencies = json.loads((self.root / "package.json").read_text())["dependencies"]
        self.change_manifest(dependencies=dependencies | {n.replace("_", "-"): v for n, v in packages.items()})

    def lock(self, pnpm: str | Path = "pnpm") -> None:
        """Makes the lockfile that belongs to the manifests."""
        self.pnpm("install", "--lockfile-only", "--no-frozen-lockfile", program=pnpm)

    def pnpm(self, *words: str | Path, program: str | Path = "pnpm") -> str:
        """As somebody who works in the machine would call it."""
        done = subprocess.run(
            (program, *words),
            cwd=self.root,
            env={**os.environ, "CI": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"pnpm {words}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def tree(self) -> FolderTree:
        return FolderTree(self.root, [os.fsencode(path) for path in self.files()])

    def files(self) -> dict[str, bytes]:
        """Everything but what is installed and what is git's own."""
        found = (path for path in self.root.rglob("*") if path.is_file())
        relative = ((path.relative_to(self.root), path) for path in found)
        return {
            str(name): path.read_bytes()
            for name, path in relative
            if not {"node_modules", ".git", ".pnpm-store"} & set(name.parts)
        }

    def recorded(self, name: str) -> str:
        """What pnpm noted of the last install; older versions write YAML and newer ones JSON."""
        record = (self.root / "node_modules/.modules.yaml").read_text()
        found = re.search(rf'^\s*"?{name}"?: "?([^"\n]+?)"?,?$', record, re.MULTILINE)
        assert found, record
        return found[1]

    def runs(self, code: str) -> bool:
        """Asks node itself whether `code` works at the root of the workspace."""
        done = subprocess.run(("node", "-e", code), cwd=self.root, capture_output=True, check=False)
        return done.returncode == 0

    @property
    def works(self) -> bool:
        """Every dependency is there: a direct one, one for development, and one of the package of its own."""
        return self.runs("if (!require('is-odd')(3) || require('@demo/lib')('1', 3, 0) !== '001') process.exit(1)")
