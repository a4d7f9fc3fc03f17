"""What both installers share, and what can be told of pnpm and uv without starting them."""

import base64
import contextlib
import json
import os
import stat
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from daemon.errors import CommandFailedError, CommandTimeoutError, InstallError, NoSpaceError
from daemon.installers.failures import failures_named, tell_both
from daemon.installers.inputs import digest, program_identity
from daemon.installers.kept import kept
from daemon.installers.markers import Marker, Success
from daemon.installers.pnpm import PnpmInstaller
from daemon.installers.pnpm_program import Pin, Programs, is_for_another_manager, pinned
from daemon.installers.pnpm_store import choose_store
from daemon.installers.scratch import scratch_folder, write_out
from daemon.installers.uv import UvInstaller
from daemon.installers.uv_lock import unlocked
from tests.support.repos import git
from tests.support.world import FakeTree

# Markers


@pytest.fixture
def marker(tmp_path: Path) -> Marker[Success]:
    return Marker(tmp_path / "state" / "installed.json", Success)


async def test_a_marker_is_read_as_it_was_written(marker: Marker[Success]) -> None:
    assert await marker.read() is None
    await marker.write(Success(fingerprint="one"))
    await marker.write(Success(fingerprint="two"))
    assert await marker.read() == Success(fingerprint="two")


async def test_a_removed_marker_is_gone_and_may_be_removed_again(marker: Marker[Success]) -> None:
    await marker.write(Success(fingerprint="one"))
    await marker.remove()
    await marker.remove()
    assert await marker.read() is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"fingerprint": 3}',
        b'{"fingerprint": "one", "other": 1}',
        b'{"fingerprint": NaN}',
        b"\xff\xfe",
        b"[" * 10_000,
        b'{"fingerprint": "' + b"x" * 100_000 + b'"}',
    ],
)
async def test_a_damaged_marker_is_none(content: bytes, marker: Marker[Success], tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/installed.json").write_bytes(content)
    assert await marker.read() is None


async def test_a_folder_in_the_place_of_a_marker_is_none(marker: Marker[Success], tmp_path: Path) -> None:
    (tmp_path / "state/installed.json").mkdir(parents=True)
    assert await marker.read() is None


# Inputs


def test_a_digest_does_not_depend_on_the_order_of_files() -> None:
    assert digest({"a": "1", "b": "2"}, "fact") == digest({"b": "2", "a": "1"}, "fact")


@pytest.mark.parametrize(
    ("files", "facts"),
    [({"a": "2"}, ("fact",)), ({"b": "1"}, ("fact",)), ({"a": "1"}, ("other",)), ({"a": "1"}, ("fact", ""))],
)
def test_a_digest_depends_on_paths_contents_and_facts(files: dict[str, str], facts: tuple[str, ...]) -> None:
    assert digest(files, *facts) != digest({"a": "1"}, "fact")


def test_a_file_name_that_is_not_utf_8_has_a_digest() -> None:
    assert digest({os.fsdecode(b"\xff/package.json"): "1"}) != digest({"package.json": "1"})


def test_a_program_of_the_same_size_and_time_has_another_identity(tmp_path: Path) -> None:
    """As a launcher in an image whose files all have the same time."""
    program = tmp_path / "tool"
    identities = set()
    for content in ("one", "two"):
        program.write_text(content)
        program.chmod(0o755)
        os.utime(program, (0, 0))
        identities.add(program_identity("tool", str(tmp_path)))
    assert len(identities) == 2


def test_a_missing_program_has_an_identity_too(tmp_path: Path) -> None:
    assert program_identity("tool", str(tmp_path)) == "tool is missing"


# Failures


def failed(detail: str) -> CommandFailedError:
    return CommandFailedError(command="tool verb", exit_code=3, detail=detail)


@pytest.mark.parametrize(
    "detail",
    [
        " ERR_PNPM_ENOSPC  ENOSPC: no space left on device, write",
        "Error:   x fetching dependencies\n  ╰─▶ failed to write: No space left\n      on device (os error 28)",
        "error: failed to copy file: Disk quota exceeded (os error 122)",
    ],
)
def test_a_full_disk_in_the_output_is_told_as_one(detail: str, tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match="the disk is full") as raised, failures_named("pnpm", tmp_path):
        raise failed(detail)
    assert raised.value.path == str(tmp_path)
    assert raised.value.detail == detail


def test_a_failure_names_the_installer_the_command_and_the_tools_own_code(tmp_path: Path) -> None:
    sentence = "cannot install dependencies with pnpm: `tool verb` ended with exit code 3 (ERR_PNPM_NO_LOCKFILE)"
    with pytest.raises(InstallError) as raised, failures_named("pnpm", tmp_path):
        raise failed("text\n ERR_PNPM_NO_LOCKFILE  more text ERR_PNPM_OTHER")
    assert str(raised.value) == sentence


def test_a_time_limit_is_an_install_error_with_the_output(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"did not end within 2.5 s") as raised, failures_named("uv", tmp_path):
        raise CommandTimeoutError(command="tool verb", seconds=2.5, detail="at work")
    assert raised.value.detail == "at work"


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("ERR_PNPM_A", "ERR_PNPM_B", "ERR_PNPM_A\n--- and when tried again with force:\nERR_PNPM_B"),
        ("1 ERR_PNPM_A", "2 ERR_PNPM_A", "2 ERR_PNPM_A"),
        ("one", "two", "one\n--- and when tried again with force:\ntwo"),
    ],
)
def test_two_failures_are_both_told_unless_they_are_the_same(first: str, second: str, told: str) -> None:
    last = failed(second)
    tell_both(failed(first), last)
    assert last.detail == told


# A file that is put back


@pytest.mark.parametrize("content", [b"changed", b"before", None])
async def test_a_kept_file_is_as_before(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_bytes(b"before")
    path.chmod(0o640)
    async with kept(path):
        path.unlink() if content is None else path.write_bytes(content)
    assert path.read_bytes() == b"before"
    assert stat.S_IMODE(path.stat().st_mode) == (0o644 if content is None else 0o640)


async def test_a_kept_file_that_was_not_there_is_gone_after_a_failure(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with contextlib.suppress(InterruptedError):
        async with kept(path):
            path.write_bytes(b"made")
            raise InterruptedError
    assert not path.exists()


# A scratch folder


async def test_a_scratch_folder_starts_empty_and_ends_removed(tmp_path: Path) -> None:
    path = tmp_path / "deep/scratch"
    (path / "left/over").mkdir(parents=True)
    async with scratch_folder(path) as folder:
        assert list(folder.iterdir()) == []
        (folder / "file").touch()
    assert not path.exists()


async def test_files_are_written_below_the_folder_and_nowhere_else(tmp_path: Path) -> None:
    tree = FakeTree({"code/a/b": b"1", "code/../../c": b"2", "code/gone": b"3"})
    (tmp_path / "out").mkdir()
    del tree.files["code/gone"]
    await write_out(tree, ["code/a/b", "code/../../c", "code/gone"], tmp_path / "out", below="code")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "out/a/b"]


# The pin of pnpm

HEX = "ab" * 64


@pytest.mark.parametrize(
    ("manifest", "pin"),
    [
        ('{"packageManager": "pnpm@10.20.0"}', Pin("10.20.0")),
        ('{"packageManager": "pnpm@11.0.0-rc.1"}', Pin("11.0.0-rc.1")),
        (f'{{"packageManager": "pnpm@10.20.0+sha512.{HEX.upper()}"}}', Pin("10.20.0", HEX)),
        ('{"packageManager": "pnpm@8.1.0+sha1.ab12"}', Pin("8.1.0")),
        ('{"devEngines": {"packageManager": {"name": "pnpm", "version": "10.20.0"}}}', Pin("10.20.0")),
        ('{"devEngines": {"packageManager": {"name": "pnpm", "version": "^10.20.0"}}}', None),
        ('{"devEngines": {"packageManager": [{"name": "pnpm", "version": "10.20.0"}]}}', None),
        ('{"devEngines": 3}', None),
        ('{"packageManager": "pnpm@10"}', None),
        ('{"packageManager": "pnpm@../../../bin"}', None),
        ('{"packageManager": "pnpm@1.0.0-../../x"}', None),
        ('{"packageManager": "pnpm@10.20.0 --global"}', None),
        ('{"packageManager": "yarn@4.0.0"}', None),
        ('{"packageManager": ["pnpm@10.20.0"]}', None),
        ("[]", None),
        ("{", None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_a_pin_is_an_exact_version_of_pnpm(manifest: str, pin: Pin | None) -> None:
    assert pinned(manifest.encode()) == pin


def test_without_a_manifest_there_is_no_pin() -> None:
    assert pinned(None) is None


@pytest.mark.parametrize(
    ("manifest", "answer"),
    [
        ('{"packageManager": "yarn@4.0.0"}', True),
        ('{"packageManager": "npm@11.0.0"}', True),
        ('{"packageManager": "pnpm@11.0.0"}', False),
        ('{"packageManager": 3}', False),
        ("{}", False),
        ("{", False),
    ],
)
def test_only_a_manifest_that_names_another_manager_is_for_another(manifest: str, answer: bool) -> None:  # noqa: FBT001 - as above
    assert is_for_another_manager(manifest.encode()) is answer


def test_of_the_fetched_pnpms_the_last_two_are_kept(tmp_path: Path) -> None:
    programs = Programs(folder=tmp_path, path="", env={})
    for age, version in enumerate(("10.1.0", "10.2.0", "9.0.0"), start=-3):
        (tmp_path / "fetching").mkdir()
        programs._keep(tmp_path / "fetching", version)
        made = (tmp_path / version).stat().st_mtime
        os.utime(tmp_path / version, (made, made + age))
    assert {folder.name for folder in tmp_path.iterdir()} == {"10.2.0", "9.0.0"}


@pytest.mark.parametrize(
    ("integrity", "accepted"),
    [("sha512-" + base64.b64encode(bytes.fromhex(HEX)).decode(), True), ("sha1-" + "A" * 28, False), ("", False)],
)
async def test_a_checksum_that_cannot_be_compared_is_refused(
    integrity: str,
    accepted: bool,  # noqa: FBT001 - a column of the table
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an npm that installs a program which knows its version, and an entry with this integrity."""
    record = {"packages": {"node_modules/pnpm": {"integrity": integrity}}}
    imitation = tmp_path / "bin/npm"
    imitation.parent.mkdir()
    imitation.write_text(
        "#!/bin/sh\nmkdir -p node_modules/.bin\n"
        f"echo '{json.dumps(record)}' >node_modules/.package-lock.json\n"
        "printf '#!/bin/sh\\necho 1.2.3\\n' >node_modules/.bin/pnpm\nchmod +x node_modules/.bin/pnpm\n"
    )
    imitation.chmod(0o755)
    monkeypatch.setenv("PATH", f"{imitation.parent}:/usr/bin:/bin")
    programs = Programs(folder=tmp_path / "programs", path="/usr/bin:/bin", env={})
    if accepted:
        chosen = await programs.obtain(Pin("1.2.3", HEX), None, 10)
        assert (chosen.program, chosen.note) == (tmp_path / "programs/1.2.3/node_modules/.bin/pnpm", "")
    else:
        with pytest.raises(InstallError, match="checksum"):
            await programs.obtain(Pin("1.2.3", HEX), None, 10)


async def test_a_fetched_pnpm_that_says_another_version_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its npm refused to run an install script and left something that is no pnpm."""
    imitation = tmp_path / "bin/npm"
    imitation.parent.mkdir()
    imitation.write_text(
        "#!/bin/sh\nmkdir -p node_modules/.bin\n"
        "printf '#!/bin/sh\\necho run the install script first\\n' >node_modules/.bin/pnpm\n"
        "chmod +x node_modules/.bin/pnpm\n"
    )
    imitation.chmod(0o755)
    monkeypatch.setenv("PATH", f"{imitation.parent}:/usr/bin:/bin")
    programs = Programs(folder=tmp_path / "programs", path="/usr/bin:/bin", env={})
    assert "asks for pnpm 1.2.3" in (await programs.obtain(Pin("1.2.3"), None, 10)).note
    assert list((tmp_path / "programs").iterdir()) == []


# The store of pnpm


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "repo")
    (tmp_path / "repo/.gitignore").write_text("node_modules/\n")
    (tmp_path / "repo/node_modules").mkdir()
    return tmp_path / "repo"


def answering(text: str) -> Callable[[], Coroutine[None, None, str]]:
    async def ask() -> str:
        return text

    return ask


@pytest.mark.parametrize(
    "record",
    [
        '{{\n  "storeDir": "{store}/v11",\n  "virtualStoreDir": ".pnpm"\n}}',
        '{{\n  "virtualStoreDir": ".pnpm",\n  "storeDir": "{store}/v10"\n}}',
        "layoutVersion: 5\nstoreDir: {store}/v10\nvirtualStoreDir: .pnpm\n",
        "storeDir: '{store}/v3'\n",
        'storeDir: "{store}"',
    ],
)
async def test_the_recorded_store_is_read_from_yaml_and_from_json(record: str, repo: Path, tmp_path: Path) -> None:
    store = tmp_path / "a store"
    store.mkdir()
    (repo / "node_modules/.modules.yaml").write_text(record.format(store=store))
    assert await choose_store(repo, ask=answering("/not/asked"), spare=tmp_path / "spare") == store


@pytest.mark.parametrize(
    "record", ["", "storeDir: relative\n", "storeDir: /nowhere/at/all\n", "storeDir: >-\n", "\xff"]
)
async def test_pnpm_is_asked_when_the_record_names_no_store(record: str, repo: Path, tmp_path: Path) -> None:
    (repo / "node_modules/.modules.yaml").write_text(record)
    ask = answering(f" WARN  something\n{tmp_path}/asked/v10\n")
    assert await choose_store(repo, ask=ask, spare=tmp_path / "spare") == tmp_path / "asked"
    assert (tmp_path / "asked").is_dir()


@pytest.mark.parametrize("answer", ["", "no path", "/proc/nowhere/v10"])
async def test_without_a_store_that_can_be_written_there_is_the_spare_one(
    answer: str, repo: Path, tmp_path: Path
) -> None:
    assert await choose_store(repo, ask=answering(answer), spare=tmp_path / "spare") == tmp_path / "spare"


async def test_a_spare_store_on_another_file_system_is_not_used(repo: Path, tmp_path: Path) -> None:
    """There pnpm would copy what it can link here."""
    elsewhere = Path("/dev/shm") / tmp_path.name
    if Path("/dev/shm").stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("one file system")
    store = await choose_store(repo, ask=answering(""), spare=elsewhere)
    assert store == repo / "node_modules/.pnpm-store"
    assert not elsewhere.exists()


async def test_a_store_that_git_would_see_is_moved_into_node_modules(repo: Path, tmp_path: Path) -> None:
    ask = answering(f"{repo}/.pnpm-store/v10")
    assert await choose_store(repo, ask=ask, spare=tmp_path / "spare") == repo / "node_modules/.pnpm-store"
    assert not (repo / ".pnpm-store").exists()
    (repo / ".gitignore").write_text("node_modules/\n.pnpm-store/\n")
    assert await choose_store(repo, ask=ask, spare=tmp_path / "spare") == repo / ".pnpm-store"


# The lockfile of uv

LOCK = """
version = 1
[[package]]
name = "other"
[[package]]
name = "demo-app"
dependencies = [{ name = "aiohttp" }]
[package.metadata]
requires-dist = [{ name = "aiohttp", specifier = ">=3" }, { name = "tomli", marker = "python_version < '3.11'" }]
"""


@pytest.mark.parametrize(
    ("dependencies", "missing"),
    [
        (["aiohttp>=3"], ()),
        (["AioHTTP[speedups] >= 4 ; python_version > '3'"], ()),
        (["tomli; python_version < '3.11'"], ()),
        (["aiohttp", "Struct_Log>=25", "sh @ https://example.invalid/sh.tar.gz"], ("struct-log", "sh")),
        ([], ()),
    ],
)
def test_a_dependency_that_the_lockfile_lacks_is_found_by_name(
    dependencies: list[str], missing: tuple[str, ...]
) -> None:
    pyproject = f'[project]\nname = "Demo.App"\ndependencies = {dependencies!r}\n'
    assert unlocked(pyproject.encode(), LOCK.encode()) == missing


@pytest.mark.parametrize(
    ("pyproject", "lock"),
    [
        (b"", LOCK.encode()),
        (b"[project]\nname = 3\n", LOCK.encode()),
        (b"[project]\nname = 'demo-app'\ndependencies = 3\n", LOCK.encode()),
        (b"[project]\nname = 'unknown'\ndependencies = ['sh']\n", LOCK.encode()),
        (b"\xff", LOCK.encode()),
        (b"[project]\nname = 'demo-app'\ndependencies = ['sh']\n", b"package = 3"),
        (b"[project]\nname = 'demo-app'\ndependencies = ['sh']\n", b"["),
    ],
)
def test_files_that_make_no_sense_are_left_to_uv(pyproject: bytes, lock: bytes) -> None:
    assert unlocked(pyproject, lock) == ()


@pytest.mark.parametrize(("kind", "left"), [("pnpm", ".refreshd-staging"), ("uv", "staging")])
async def test_what_a_killed_staging_left_is_tidied_away(kind: str, left: str, tmp_path: Path) -> None:
    folder = tmp_path / kind / left
    folder.mkdir(parents=True)
    (folder / "half").touch()
    installer = PnpmInstaller(repo=tmp_path, state_dir=tmp_path, stage_timeout=1, install_timeout=1)
    other = UvInstaller(repo=tmp_path, code_dir=Path(), state_dir=tmp_path, stage_timeout=1, install_timeout=1)
    await installer.tidy()
    await other.tidy()
    assert not folder.exists()
