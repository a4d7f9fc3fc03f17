"""SIGKILL before every step of a listener: no request is lost, and none is done twice."""

from pathlib import Path

from tests.support.fake_machine import FakeMachine, finds_nothing_to_do, hosted
from tests.support.killed_listener import listen_once
from tests.support.listening import new_folder


def test_killed_at_every_step_it_loses_nothing_and_does_nothing_twice(tmp_path: Path) -> None:
    app = new_folder(tmp_path / "state")
    with hosted(FakeMachine(tmp_path / "m.sock")) as machine:
        assert machine.socket_path
        machine.script = finds_nothing_to_do()
        app.ask(request_id="whole")
        steps = listen_once(machine.socket_path, tmp_path / "state", None)
        assert steps
        assert steps > 10, "claim, question, progress, result, tidying"
        for step in range(steps + 3):
            done_before = len(machine.entries)
            app.ask(request_id=f"r{step}", branch=f"b{step}")
            died = listen_once(machine.socket_path, tmp_path / "state", step) is None
            if died:
                listen_once(machine.socket_path, tmp_path / "state", None)
            found = app.found()
            assert found, step
            assert (found["status"], found["request_id"]) == ("success", f"r{step}"), step
            done = [machine.record(update_id).request.target_ref for update_id in list(machine.entries)[done_before:]]
            assert done == [f"b{step}"], f"killed before step {step}"
            if not died:
                break  # how many steps tell progress depends on the moment: a few more or less
        assert step >= steps - 3


def test_request_that_is_written_while_the_listener_is_dead_is_done_after_the_claimed_one(tmp_path: Path) -> None:
    app = new_folder(tmp_path / "state")
    with hosted(FakeMachine(tmp_path / "m.sock")) as machine:
        assert machine.socket_path
        machine.script = finds_nothing_to_do()
        app.ask(branch="first")
        assert listen_once(machine.socket_path, tmp_path / "state", 6) is None
        assert not app.command.exists(), "it was claimed"
        app.ask(branch="second", request_id="second")
        listen_once(machine.socket_path, tmp_path / "state", None)
        assert (app.found() or {})["request_id"] == "second"
        assert [machine.record(update_id).request.target_ref for update_id in machine.entries] == ["first", "second"]
