"""The console in a real browser, before machines on a real Docker engine."""

import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, expect

from daemon.control.providers.local_docker import LABEL_FLEET
from tests.support.console_browser import PATIENCE, browser, picture
from tests.support.machine import PROJECT, Upstream, free_port, git

TOKEN = "token-for-the-console"
SERVICE = "/run/refreshd/service/refreshd"


@dataclass
class World:
    """A control plane's process, the developers' tree, and a browser that has logged in."""

    url: str
    page: Page
    upstream: Upstream
    fleet: str
    old: str
    new: str

    def open(self, machine: str) -> Page:
        self.page.goto(f"{self.url}/machines/local-docker.{machine}")
        return self.page

    def container(self, machine: str) -> str:
        return f"refreshd-{self.fleet}-{machine}"

    def create(self, machine: str) -> None:
        self.page.goto(self.url)
        self.page.get_by_text("New machine", exact=True).click()
        self.page.get_by_label("Name").fill(machine)
        self.page.get_by_role("button", name="Create").click()
        expect(self.page.get_by_role("heading", name=machine)).to_be_visible()

    def host_has(self, commit: str) -> None:
        git(self.upstream.tree, "checkout", "--quiet", "--detach", commit)


def docker(*words: str) -> str:
    return subprocess.run(("docker", *words), check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def inspected(container: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", container))[0]
    return found


@pytest.fixture(scope="module")
def world(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("control")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)  # the containers' user reads what is mounted
    upstream = Upstream(folder)
    old = upstream.create({".gitignore": "__pycache__/\n", "notes.txt": "one\n"})
    new = upstream.release("9.9.9")
    fleet = f"test-{secrets.token_hex(4)}"
    port = free_port()
    env = {
        **os.environ,
        "CONTROL_LISTEN": f"127.0.0.1:{port}",
        "CONTROL_STATE_DIR": str(folder / "state"),
        "CONTROL_TOKEN": TOKEN,
        "CONTROL_FLEET": fleet,
        "CONTROL_DOCKER_IMAGE": image,
        "CONTROL_DOCKER_REPO": str(upstream.tree),
        "CONTROL_POLL_INTERVAL": "0.5",
        "DOCKER_HOST": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"),
        "ITERATE_GIT_SHA": new,
    }
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen((sys.executable, "-m", "daemon", "control"), cwd=PROJECT, env=env, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until_it_answers(f"{url}/healthz", child, folder / "log")
        with browser() as started:
            yield World(url, logged_in(started, url), upstream, fleet, old, new)
    finally:
        child.terminate()
        assert child.wait(30) == 0, (folder / "log").read_text()
        assert TOKEN not in (folder / "log").read_text()
        if containers := docker("ps", "--all", "--quiet", "--filter", f"label={LABEL_FLEET}={fleet}").split():
            docker("rm", "--force", "--volumes", *containers)


def until_it_answers(url: str, child: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        assert child.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            with urlopen(url):
                return
        except OSError:
            time.sleep(0.1)


def logged_in(started: Browser, url: str) -> Page:
    page = started.new_page(viewport={"width": 1100, "height": 720})
    page.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(url)
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("opens nothing")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Machines", exact=True)).to_be_visible()
    return page


@pytest.fixture(scope="module")
def machines(world: World) -> World:
    """Two machines, made when the host was at the old commit; now it is at the new one."""
    world.host_has(world.old)
    for machine in ("alpha", "beta"):
        world.create(machine)
    for machine in ("alpha", "beta"):
        expect(world.open(machine).locator("#status")).to_contain_text(world.old[:10])
    world.host_has(world.new)
    return world


def test_machines_that_the_console_made_show_what_they_run_and_that_it_is_old(machines: World) -> None:
    machines.page.goto(machines.url)
    rows = machines.page.locator("#rows > tr")
    expect(rows).to_have_count(2)
    for row in (rows.nth(0), rows.nth(1)):
        expect(row).to_contain_text("running")
        expect(row).to_contain_text("update available")
    picture(machines.page, "console-machines")


def test_a_machine_is_confined_to_loopback_and_its_token_is_in_a_file_of_its_user(machines: World) -> None:
    shown = inspected(machines.container("alpha"))
    (published,) = shown["NetworkSettings"]["Ports"]["3000/tcp"]
    assert published["HostIp"] == "127.0.0.1"
    (mount,) = shown["Mounts"]
    assert (mount["Destination"], mount["RW"]) == ("/local-iterate-repo", False)
    owner = docker("exec", machines.container("alpha"), "stat", "--format=%U %a", "/etc/refreshd/machine-token")
    assert owner == "iterate 400"
    token = docker("exec", machines.container("alpha"), "cat", "/etc/refreshd/machine-token")
    assert len(token) > 40
    assert token not in json.dumps(shown)


def test_a_refresh_shows_its_steps_the_toast_and_what_was_confirmed(machines: World) -> None:
    page = machines.open("alpha")
    expect(page.locator("#status .badges")).to_contain_text("update available")
    button = page.locator("#refresh")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(page.locator("#status .steps")).to_be_visible()
    picture(page, "console-refreshing")
    toasts = page.locator("#toasts")
    expect(toasts).to_contain_text("Code updated, daemon restarting…")
    expect(toasts).to_contain_text(f"Confirmed: a new daemon answers and runs {machines.new[:10]}.")
    status = page.locator("#status")
    expect(status.locator(".badges")).to_contain_text("up to date")
    expect(status).to_contain_text("v9.9.9")
    expect(button).to_have_text("Refresh Code")
    expect(button).to_be_focused()
    history = page.locator("#history li")
    expect(history).to_have_count(2)
    expect(history.first).to_contain_text("succeeded")
    history.first.get_by_text("file changed").click()
    expect(history.first).to_contain_text("M daemon/__init__.py")
    expect(page.locator("#logs")).to_contain_text("daemon is ready")
    expect(page.locator(".commands")).to_contain_text("docker exec --interactive --tty")
    picture(page, "console-machine")


def test_a_rollback_is_asked_for_and_confirmed_as_a_refresh_is(machines: World) -> None:
    page = machines.open("alpha")
    page.get_by_role("button", name="Roll back").first.click()
    expect(page.locator("#toasts")).to_contain_text(f"runs {machines.old[:10]}.")
    expect(page.locator("#status .badges")).to_contain_text("update available")


def test_a_failing_refresh_says_why_and_offers_to_try_again(machines: World) -> None:
    git(machines.upstream.tree, "checkout", "--quiet", "-B", "broken", machines.new)
    broken = machines.upstream.commit({"daemon/app.py": "this is no Python\n"}, branch="broken")
    page = machines.open("beta")
    page.get_by_text("Refresh to another target").click()
    page.get_by_label("Branch, tag or full commit id").fill(broken)
    page.get_by_role("button", name="Refresh to it").click()
    notice = page.locator("#status .notice")
    expect(notice).to_contain_text("rolled back")
    expect(notice).to_contain_text("cannot run the new code")
    expect(page.locator("#toasts .toast.bad")).to_be_visible()
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.locator("#status")).to_contain_text(machines.old[:10])
    picture(page, "console-failed")
    page.get_by_role("button", name="Try again").click()
    expect(notice).to_contain_text("cannot update to")
    machines.host_has(machines.new)
    page.locator("#refresh").click()
    expect(page.locator("#status .badges")).to_contain_text("up to date")


def test_a_machine_that_is_killed_meanwhile_does_not_stay_busy_and_can_be_started(machines: World) -> None:
    container = machines.container("beta")
    page = machines.open("beta")
    expect(page.locator("#refresh")).to_have_text("Refresh Code")
    docker("exec", container, "s6-svc", "-p", SERVICE)  # it takes the request and does not answer
    page.locator("#refresh").click()
    expect(page.locator("#refresh")).to_contain_text("Refreshing")
    docker("kill", container)
    expect(page.locator("#status .notice")).to_contain_text("the machine stopped during the update")
    expect(page.locator("#status .badges")).to_contain_text("stopped")
    expect(page.locator("#refresh")).to_have_count(0)
    page.locator("#start").click()
    expect(page.locator("#status .badges")).to_contain_text("running")
    expect(page.locator("#status .badges")).to_contain_text("up to date")


def test_a_log_that_arrives_moves_no_button(machines: World) -> None:
    page = machines.open("beta")
    expect(page.locator("#logs")).to_contain_text("daemon is ready")
    button = page.get_by_role("button", name="Delete")
    below_the_log = button.bounding_box()
    page.locator("#logs").evaluate("element => element.replaceChildren()")
    assert button.bounding_box() == below_the_log


def test_a_machine_is_archived_started_and_deleted(machines: World) -> None:
    page = machines.open("beta")
    page.get_by_role("button", name="Archive").click()
    expect(page.locator("#status .badges")).to_contain_text("archived")
    page.locator("#start").click()
    expect(page.locator("#status .badges")).to_contain_text("running")
    machines.open("beta").get_by_role("button", name="Delete").click()
    expect(page.locator("#toasts")).to_contain_text("not there any more")
    page.goto(machines.url)
    expect(page.locator("#rows > tr")).to_have_count(1)
    assert re.fullmatch("", docker("ps", "--all", "--quiet", "--filter", f"name={machines.container('beta')}"))
