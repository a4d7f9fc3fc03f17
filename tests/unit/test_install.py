"""The listener's service, as systemd's own checker and a reader of property lists see it."""

import json
import os
import plistlib
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.host.service import Program, launchd_agent, systemd_unit

ODD = ["/bin/echo", "a b", 'c"d', "e\\f", "100%", "$HOME", "${X}", "g'h", ";", "ünï"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith(("REFRESHD_", "DOCKER_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Systemctl and launchctl that write down how they are called; where `fail` lies, they fail after that."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("systemctl", "launchctl"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >>"{tmp_path}/calls"\n'
            f'case "$*" in *restart*|bootstrap*) '
            f'if [ -e "{tmp_path}/fail" ]; then echo "no bus" >&2; exit 1; fi;; esac\n'
            'case "$*" in *disable*|bootout*) exit 5;; esac\n'
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return tmp_path / "calls"


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["install", "--print", *words]) == 0
    return capsys.readouterr().out


def verify(unit: str, folder: Path) -> None:
    """Systemd's own opinion; a warning is an opinion, too."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        assert os.environ.get("CI") != "true", "systemd-analyze must be there in CI: scripts/install --dev"
        pytest.skip("systemd-analyze is not installed")
    file = folder / "refreshd-listen.service"
    file.write_text(unit)
    env = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_UNIT_PATH": f"{folder}:"}
    done = subprocess.run(
        [analyze, "verify", "--user", "--man=no", str(file)], capture_output=True, text=True, check=False, env=env
    )
    ours = [line for line in done.stderr.splitlines() if "refreshd-listen" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_unit_is_what_systemd_accepts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    verify(printed(capsys, "--manager", "systemd", "--machine", "one", "--state", "/a b/%c"), tmp_path)


def test_verification_refuses_a_unit_that_is_wrong(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    unit = printed(capsys, "--manager", "systemd", "--machine", "one").replace("Restart=always", "Restart=sometimes")
    with pytest.raises(AssertionError, match="sometimes"):
        verify(unit, tmp_path)


def test_unit_with_odd_words_is_accepted(tmp_path: Path) -> None:
    verify(systemd_unit(Program(ODD, {"A": "b c%$\"'"})), tmp_path)


def test_service_is_started_again_after_every_end(capsys: pytest.CaptureFixture[str]) -> None:
    unit = printed(capsys, "--manager", "systemd", "--machine", "one").splitlines()
    assert {"Restart=always", "RestartSec=5", "StartLimitIntervalSec=0"} <= set(unit)
    agent = plistlib.loads(printed(capsys, "--manager", "launchd", "--machine", "one").encode())
    assert (agent["KeepAlive"], agent["RunAtLoad"], agent["ThrottleInterval"]) == (True, True, 5)


def test_agent_keeps_words_as_they_are(tmp_path: Path) -> None:
    agent = plistlib.loads(launchd_agent(Program(ODD, {"A": "<&>"}), tmp_path / "log").encode())
    assert agent["ProgramArguments"] == ODD
    assert agent["EnvironmentVariables"] == {"A": "<&>"}


def test_service_runs_what_was_said_from_wherever_it_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/user/1/docker.sock")
    words = ["--machine", "one=here", "--machine", "two=/there", "--default-branch", "main", "--timeout", "60"]
    agent = plistlib.loads(printed(capsys, "--manager", "launchd", *words).encode())
    argv = agent["ProgramArguments"]
    assert Path(argv[0]).is_absolute()
    assert argv[argv.index("listen") :] == [
        *("listen", "--machine", f"one={tmp_path}/here", "--machine", "two=/there"),
        *("--default-branch", "main", "--timeout", "60"),
    ]
    assert agent["EnvironmentVariables"] == {"DOCKER_HOST": "unix:///run/user/1/docker.sock"}
    unit = printed(capsys, "--manager", "systemd", *words)
    [line] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert shlex.split(line.removeprefix("ExecStart=")) == argv


def test_executable_of_the_service_is_this_installation(capsys: pytest.CaptureFixture[str]) -> None:
    agent = plistlib.loads(printed(capsys, "--manager", "launchd", "--machine", "one").encode())
    argv = agent["ProgramArguments"]
    done = subprocess.run([*argv[: argv.index("listen")], "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("refreshd ")


def test_secret_is_not_written_into_the_service(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("REFRESHD_TOKEN", "the-secret")
    assert main(["install", "--print", "--url", "http://127.0.0.1:3000"]) == 2
    captured = capsys.readouterr()
    assert "--token-file" in captured.err
    assert "the-secret" not in captured.out + captured.err
    monkeypatch.delenv("REFRESHD_TOKEN")
    token = tmp_path / "token"
    token.write_text("the-secret")
    text = printed(capsys, "--url", "http://127.0.0.1:3000", "--token-file", str(token))
    assert str(token) in text
    assert "the-secret" not in text


@pytest.mark.parametrize("words", [["--machine", "a/b"], ["--machine", "a", "--machine", "b"], ["--default-branch=-x"]])
def test_what_the_listener_would_refuse_is_not_installed(words: list[str], programs: Path) -> None:
    assert main(["install", "--manager", "systemd", *words]) == 2
    assert not programs.exists()


@pytest.mark.parametrize(
    ("manager", "file", "calls"),
    [
        (
            "systemd",
            ".config/systemd/user/refreshd-listen.service",
            [
                "systemctl --user disable --now refreshd-listen.service",
                "systemctl --user daemon-reload",
                "systemctl --user enable refreshd-listen.service",
                "systemctl --user restart refreshd-listen.service",
            ],
        ),
        (
            "launchd",
            "Library/LaunchAgents/dev.refreshd.listen.plist",
            ["launchctl bootout gui/UID/dev.refreshd.listen", "launchctl bootstrap gui/UID HOME/FILE"],
        ),
    ],
)
def test_install_writes_and_starts_and_uninstall_takes_it_back(
    programs: Path, home: Path, manager: str, file: str, calls: list[str]
) -> None:
    def in_words(call: str) -> str:
        return call.replace("UID", str(os.getuid())).replace("HOME", str(home)).replace("FILE", file)

    for _ in range(2):  # once more is the same again
        assert main(["install", "--manager", manager, "--machine", "one", "-q"]) == 0
        assert programs.read_text().splitlines() == [in_words(call) for call in calls]
        assert (home / file).read_text()
        programs.unlink()
    for _ in range(2):
        assert main(["uninstall", "--manager", manager, "-q"]) == 0
        assert not (home / file).exists()
    assert programs.read_text().splitlines()[0] == in_words(calls[0])


def test_service_that_does_not_start_is_a_failure(
    programs: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "fail").touch()
    assert main(["install", "--manager", "systemd", "--machine", "one", "--json"]) == 1
    captured = capsys.readouterr()
    assert "no bus" in captured.err
    assert json.loads(captured.out)["error"]["code"] == "command_failed"
    assert programs.exists()
