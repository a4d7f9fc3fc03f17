"""The kill matrix: whatever ends or fails at whatever step, the machine comes back with the old code or with the new.

Each row names a place, what goes wrong there, and the exact journal that must come of it. After each, when the machine
is ready again: files by content, HEAD, index, dependencies, local edits, locks, processes, temporary files, version.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest
import pytest_asyncio

from tests.support import matrix_extras
from tests.support.closing_table import PROPERTY
from tests.support.faults import PYTHON, Action, Fault, Moment
from tests.support.matrix_lanes import Lanes, Row

SOURCES = ("git", "mount")
WAY = ("requested", "begin", "staged", "applied", "installed", "checked", "started", "verified")
IN = {
    "staging": (*WAY[:2], "fail"),
    "applying": (*WAY[:3], "undone"),
    "installing": (*WAY[:4], "undone"),
    "checking": (*WAY[:5], "undone"),
    "restarting": WAY,
    "verifying": (*WAY[:7], *WAY[6:]),
    "done": WAY,
}
NEW = frozenset({"restarting", "verifying", "done"})
# what an update that did not come through says: it was ended, or why it ended itself
CODES = {"kill": "interrupted", "group": "interrupted", "term": "interrupted", "enospc": "no_space", "fill": "no_space"}
# by the step that hung until its time limit
HUNG = (
    ("fetch --verbose", "remote_failed"),
    ("pnpm", "install_failed"),
    ("uv *", "install_failed"),
)
LOCKED = ".git/index.lock"
IN_THE_WAY_BACK = "in the way back"

# (program, place, sign of "during", state that it belongs to, sources, what goes wrong there)
KILLED = ("kill before", "kill during", "kill after")
FETCHING = (*KILLED, "group during", "term during", "enospc before", "hang before")
SNAPSHOT = ("kill during", "kill after", "group during", "term before", "enospc before", "hang before")
MOVING = ("kill before", "kill after", "enospc before", "hang before")
RESETTING = (*KILLED, "group during", "enospc before", "hang during")
EVERY = (
    *KILLED,
    "group during",
    "group after",
    "term before",
    "term during",
    "term after",
    "enospc before",
    "enospc during",
    "hang before",
)
COMMANDS: tuple[tuple[str, str, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("git", "* rev-parse --is-bare*", "-", "staging", SOURCES, ("kill before", "term after")),
    ("git", "* ls-files -z -t --cached*", "-", "staging", ("mount",), ("kill after", "hang before")),
    ("git", "* fetch --verbose *", "-", "staging", ("git",), FETCHING),
    ("git", "* fetch --quiet --force *", "-", "staging", ("mount",), FETCHING),
    ("pnpm", "* fetch *", "-", "staging", SOURCES, FETCHING),
    ("git", "* add --all *", "-", "staging", SOURCES, SNAPSHOT),
    ("git", "* write-tree*", "-", "staging", SOURCES, ("kill after",)),
    ("git", "* write-tree*", "-", "staging", ("mount",), ("enospc before",)),
    # what is made ready beside the fetch is done without where it fails
    ("git", "* write-tree*", "-", "done", ("git",), ("enospc before", "hang before")),
    ("git", "* commit-tree *", "-", "staging", SOURCES, ("kill after", "enospc before")),
    ("git", "* update-ref refs/snapshots*", "-", "staging", SOURCES, ("kill before", "kill after")),
    ("git", "* checkout --quiet --force *", LOCKED, "applying", ("git",), (*EVERY, "hang during", "hang after")),
    ("rsync", "*--files-from*", "-", "applying", ("mount",), (*EVERY, "hang during", "hang after")),
    ("git", "* update-ref --no-deref -m *", "-", "applying", ("mount",), MOVING),
    ("git", "* reset --quiet --mixed *", LOCKED, "applying", ("mount",), RESETTING),
    ("pnpm", "* install *", "-", "installing", SOURCES, EVERY),
    ("sync", "* -f *", "-", "checking", SOURCES, ("kill before", "kill after", "enospc before")),
    # a disk that is too slow is not waited for
    ("sync", "* -f *", "-", "done", SOURCES, ("hang before",)),
)
STEPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("journal begin", "staging", ("kill after",)),
    ("Snapshots.take", "staging", ("kill before", "kill after")),
    ("Undo.prepare", "staging", ("kill before", "kill after", "group after", "term after")),
    ("undo-file index", "staging", ("kill during", "enospc during")),
    ("undo-file undo.sh", "staging", ("kill during", "kill after", "enospc during")),
    ("journal staged", "staging", ("kill before", "kill torn", "enospc during")),
    ("journal staged", "applying", ("kill after", "group after", "term after")),
    ("journal applied", "applying", ("kill before", "kill torn", "enospc during")),
    ("journal applied", "installing", ("kill after", "term after")),
    ("PnpmInstaller.install", "installing", ("kill after",)),
    ("journal installed", "installing", ("kill before", "kill torn", "enospc during")),
    ("journal installed", "checking", ("kill after", "term after")),
    ("Checker.check", "checking", ("kill before", "kill after", "group after", "term before")),
    ("undo-file applied", "checking", ("kill during", "kill after", "enospc during", "term after")),
    ("journal checked", "checking", ("kill before", "kill torn", "enospc during")),
    ("journal checked", "restarting", ("kill after", "group after")),
    ("Supervisor.leave", "restarting", ("kill before", "kill after")),
    ("journal started", "restarting", ("kill before", "kill torn", "enospc during")),
    ("journal started", "verifying", ("kill after", "group after")),
    ("Recovery.verify", "verifying", ("kill before",)),
    ("journal verified", "verifying", ("kill before", "kill torn", "enospc during")),
    ("journal verified", "done", ("kill after", "group after")),
    ("Recovery.verify", "done", ("kill after",)),
    ("Supervisor.ready", "done", ("kill before",)),
)
# The way back itself: what made it necessary, and what strikes it then.
FULL_DISK = {
    "git": Fault("git", "* checkout --quiet --force *", "during", "enospc", sign=LOCKED),
    "mount": Fault("rsync", "*--files-from*", "during", "enospc"),
}
BACK: tuple[tuple[str, str, str], ...] = (
    ("git", "* read-tree -u --reset *", "kill before"),
    ("git", "* read-tree -u --reset *", "kill during"),
    ("git", "* read-tree -u --reset *", "kill after"),
    ("git", "* read-tree -u --reset *", "group during"),
    ("git", "* update-ref --no-deref HEAD *", "kill before"),
    ("git", "* update-ref --no-deref HEAD *", "kill after"),
    ("git", "* update-index -q *", "kill after"),
    (PYTHON, "Undo.run", "kill before"),
    (PYTHON, "Undo.run", "kill after"),
    (PYTHON, "journal undone", "kill before"),
    (PYTHON, "journal undone", "kill torn"),
    (PYTHON, "journal undone", "kill after"),
    ("git", "* read-tree -u --reset *", "hang before"),
)
# uv and submodules, with the code from git. In this order: what was fetched once is not fetched again.
UV_FETCHES = "* sync *--no-install-workspace*"
UV_INSTALLS = "* sync *--offline*"
MOVES_SUBMODULE = "* submodule --quiet update *"
LOCKED_INSIDE = ".git/modules/part/index.lock"
EXTRAS: tuple[tuple[str, str, str, str, str, tuple[str, ...]], ...] = (
    ("uv", UV_FETCHES, ".venv", "staging", "in uv", (*KILLED, "enospc during", "hang before")),
    ("uv", UV_INSTALLS, matrix_extras.PLACE, "installing", "in uv", (*KILLED, "enospc during", "hang before")),
    ("git", MOVES_SUBMODULE, LOCKED_INSIDE, "applying", "in a submodule", (*KILLED, "enospc before")),
)
# the checkout's own fetch comes before it
SUBMODULE_FETCH = (*KILLED, "group during", "enospc before", "hang before")
# Where nobody has edited anything, another command moves the checkout.
STEP = ("* reset --quiet --keep *", (*EVERY, "hang during", "hang after"))
# A disk that is really full from then on, until the machine has come back.
FILLED: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("git", "* add --all *", "staging", SOURCES),
    (PYTHON, "Undo.prepare", "staging", SOURCES),
    ("git", "* checkout --quiet --force *", "applying", ("git",)),
    ("rsync", "*--files-from*", "applying", ("mount",)),
    ("pnpm", "* install *", "installing", SOURCES),
)
# A rollback on request: its own way is struck.
ROLLBACK = ("kill before", "kill during", "kill after", "group during", "term before", "enospc before", "fill before")
ENDED = Fault(PYTHON, "journal undone", "after", "kill")
# The guard's way back, after the daemon was killed while it checked: its own program is struck.
GUARD: tuple[tuple[str, str, int, str], ...] = (
    ("git", "* read-tree -u --reset *", 1, "kill during"),
    ("git", "* read-tree -u --reset *", 1, "group during"),
    ("git", "* update-ref --no-deref HEAD *", 1, "kill after"),
    ("pnpm", "* install *", 2, "kill before"),
    ("pnpm", "* install *", 2, "group during"),
)
BAD: tuple[tuple[str, tuple[str, ...], str, bool], ...] = (
    ("fails to import", IN["checking"], "check_failed", False),
    ("hangs when it is imported", IN["checking"], "check_failed", True),
    ("fails to import when it serves", (*WAY[:6], "undone"), "crash_loop", False),
    ("crashes at start", (*WAY[:6], "undone"), "crash_loop", False),
    ("is killed at start", (*WAY[:6], "undone"), "crash_loop", False),
    ("never gets ready", (*WAY[:6], "undone"), "crash_loop", True),
    ("listens and hangs", (*WAY[:7], "undone"), "crash_loop", True),
)


def fault(program: str, place: str, what: str, *, sign: str = "-", nth: int = 1) -> Fault:
    action, moment = what.split()
    return Fault(program, place, _MOMENTS[moment], _ACTIONS[action], sign=sign, nth=nth)


_MOMENTS: dict[str, Moment] = {"before": "before", "during": "during", "after": "after", "torn": "torn"}
_ACTIONS: dict[str, Action] = {
    "kill": "kill",
    "group": "group",
    "term": "term",
    "enospc": "enospc",
    "hang": "hang",
    "fill": "fill",
}
_KINDS = {
    "kill": "SIGKILL of the daemon",
    "group": "SIGKILL of its group",
    "term": "SIGTERM",
    "enospc": "ENOSPC",
    "hang": "child hangs",
    "fill": "disk is full",
}


def one(
    source: str,
    state: str,
    *faults: Fault,
    where: str = "",
    bad_code: str = "",
    back: bool = False,
    extras: bool = False,
    fresh: bool = False,
    pristine: bool = False,
) -> Row:
    """`where` is added to the kind of fault that the closing table counts."""
    last = faults[-1]
    return Row(
        source=source,
        kind=f"{_KINDS[last.action]} {where}".strip(),
        name=" ".join([*(["code that"] if bad_code else []), *filter(None, [bad_code]), *map(str, faults)]),
        faults=faults,
        chains=frozenset({IN[state]}),
        ends_at="new" if state in NEW else "old",
        code=code_of(state, faults, bad_code),
        bad_code=bad_code,
        # one machine for all of them
        patient=extras or last.action == "hang",
        back=back,
        extras=extras,
        fresh=fresh,
        pristine=pristine,
    )


def code_of(state: str, faults: tuple[Fault, ...], bad_code: str) -> str:
    if state in NEW:
        return ""
    # once its end is on record, another end of the daemon changes nothing of it
    if any(fault.ends_daemon and str(fault) != str(ENDED) for fault in faults):
        return "interrupted"
    if bad_code:
        return "check_failed"
    first = faults[0]
    if first.action != "hang":
        return "no_space"
    return next((code for words, code in HUNG if words in f"{first.program} {first.place}"), "command_timeout")


def table() -> Iterator[Row]:
    for program, place, sign, state, sources, whats in COMMANDS:
        for source in sources:
            yield from (one(source, state, fault(program, place, what, sign=sign)) for what in whats)
    for source in SOURCES:
        for step, state, whats in STEPS:
            yield from (one(source, state, fault(PYTHON, step, what)) for what in whats)
        yield one(source, "done", fault(PYTHON, "Undo._drop", "kill before", nth=2))
        yield from way_back(source)
        yield from filled(source)
        for what in ROLLBACK:
            struck = fault("git", "* read-tree -u --reset *", what)
            yield one(source, "applying", struck, where="in a rollback", back=True)
        yield from bad_code(source)
    place, whats = STEP
    for what in (*whats, "fill before"):
        struck = fault("git", place, what, sign=LOCKED)
        yield one("git", "applying", struck, where="in a checkout without edits", pristine=True)
    yield from with_extras()


def way_back(source: str) -> Iterator[Row]:
    for program, place, what in BACK:
        yield one(source, "applying", FULL_DISK[source], fault(program, place, what), where=IN_THE_WAY_BACK)
    for program, place, nth, what in GUARD:
        checking = fault(PYTHON, "Checker.check", "kill after")
        yield one(source, "checking", checking, fault(program, place, what, nth=nth), where=IN_THE_WAY_BACK)


def with_extras() -> Iterator[Row]:
    for program, place, sign, state, where, whats in EXTRAS:
        for what in whats:
            yield one("git", state, fault(program, place, what, sign=sign), where=where, extras=True)
    for what in SUBMODULE_FETCH:
        second = fault("git", "* fetch --verbose *", what, nth=2)
        yield one("git", "staging", second, where="in a submodule", extras=True, fresh=True)
    full = fault("git", MOVES_SUBMODULE, "enospc before")
    back = fault("git", "* read-tree -u --reset *", "kill before", nth=2)
    yield one("git", "applying", full, back, where=f"{IN_THE_WAY_BACK} of a submodule", extras=True)
    checking = fault(PYTHON, "Checker.check", "kill after")
    again = fault("uv", UV_INSTALLS, "kill during", nth=2)
    yield one("git", "checking", checking, again, where=f"{IN_THE_WAY_BACK} of uv", extras=True)


def filled(source: str) -> Iterator[Row]:
    for program, place, state, sources in FILLED:
        if source in sources:
            yield one(source, state, fault(program, place, "fill before"))
    filling = fault(PYTHON, "Undo.run", "fill before")
    yield one(source, "checking", filling, where=IN_THE_WAY_BACK, bad_code="fails to import")


def bad_code(source: str) -> Iterator[Row]:
    for name, chain, code, patient in BAD:
        yield Row(source, f"code that {name}", name, (), frozenset({chain}), "old", code, name, patient=patient)
    name = "crashes after readiness"
    yield Row(source, f"code that {name}", name, (), frozenset({WAY}), "old", "", name, later=WAY, patient=True)


ROWS = tuple(table())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lanes(request: pytest.FixtureRequest) -> AsyncIterator[Lanes]:
    """Works on the rows that were selected, in their order, on all machines at once."""
    lanes = Lanes(_selected(request.session.items))
    yield lanes
    await lanes.close()


def _selected(items: Iterable[pytest.Item]) -> list[Row]:
    calls = (getattr(item, "callspec", None) for item in items)
    return [call.params["row"] for call in calls if call and isinstance(call.params.get("row"), Row)]


def test_the_table_has_at_least_120_rows_and_no_two_alike() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 120


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
async def test_the_machine_comes_back_whole(
    row: Row, lanes: Lanes, record_property: Callable[[str, object], None]
) -> None:
    record_property(PROPERTY, (row.kind, row.source))
    assert not row.complaints(await lanes.result(row))
