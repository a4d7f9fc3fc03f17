"""The failure of a child becomes an error of what it worked on, with the child's own words."""

from pathlib import Path

import pytest

from daemon.errors import CheckoutError, CommandFailedError, CommandTimeoutError, MountError, NoSpaceError
from daemon.sources.blame import blamed


def failed(detail: str) -> CommandFailedError:
    return CommandFailedError(command="git x", exit_code=128, detail=detail)


@pytest.mark.parametrize("kind", [CheckoutError, MountError])
def test_the_reason_is_the_childs_first_complaint(kind: type[CheckoutError | MountError]) -> None:
    with pytest.raises(kind) as caught, blamed(kind, Path("/there")):
        raise failed("warning: careful\nfatal: it is broken\nfatal: and gone")
    assert "/there: it is broken" in str(caught.value)
    assert caught.value.detail.startswith("warning: careful")


def test_rsync_complains_in_its_own_way() -> None:
    with pytest.raises(MountError, match="open failed"), blamed(MountError, Path("/there")):
        raise failed("sending\nrsync: [sender] open failed\nrsync error: some files (code 23)")


def test_a_child_that_says_nothing_is_named_with_its_exit_code() -> None:
    with pytest.raises(MountError, match="exit code 128"), blamed(MountError, Path("/there")):
        raise failed("")


@pytest.mark.parametrize("words", ["No space left on device", "Disk quota exceeded", "write error. Out of diskspace"])
def test_a_full_disk_is_its_own_error(words: str) -> None:
    with pytest.raises(NoSpaceError, match="/there"), blamed(CheckoutError, Path("/there")):
        raise failed(f"error: unable to write file x: {words}")


def test_a_time_limit_stays_what_it_is() -> None:
    with pytest.raises(CommandTimeoutError), blamed(CheckoutError, Path("/there")):
        raise CommandTimeoutError(command="git x", seconds=1)
