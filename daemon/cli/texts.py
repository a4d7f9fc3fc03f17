"""Records as a person reads them."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from daemon.cli.terminal import clipped, printable
from daemon.health import Status, Verdict
from daemon.models import Changes, Plan, Preserved, Update, Version
from daemon.states import State

MOST_NAMES = 10
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def short(commit: str | None) -> str:
    return commit[:12] if commit else "unknown"


def _target(ref: str) -> str:
    return short(ref) if _COMMIT.fullmatch(ref) else ref.removeprefix("refs/heads/")


def of_update(update: Update) -> str:
    """How it ended; for one that has not, how far it is."""
    changed = (
        _names(update.changes.files, update.changes.total) if update.changes and update.state is State.SUCCEEDED else []
    )
    notes = [f"note: {note}" for note in update.notes]
    return "\n".join(map(printable, [_outcome(update), *changed, *notes, *_preserved(update.preserved)]))


def _outcome(update: Update) -> str:
    match update.state:
        case State.SUCCEEDED:
            did = "went back" if update.request.rollback_of else "updated"
            return f"{did} {_way(update)}{_changed(update.changes)} in {_duration(update)}"
        case State.UNCHANGED:
            return f"already at {short(update.to_commit)}: nothing to do"
        case state:
            return f"update {update.id} to {_target(update.request.target_ref)} is {_words(state)}"


def _way(update: Update | Plan) -> str:
    if update.from_commit == update.to_commit:
        return short(update.to_commit)
    if isinstance(update, Update) and update.to_commit is None and update.snapshot is None:
        # it did not get as far
        return short(update.from_commit)
    return f"{short(update.from_commit)}..{short(update.to_commit)}"


def _changed(changes: Changes | None) -> str:
    return f" ({_counted(changes.total, 'file')} changed)" if changes else ""


def _preserved(preserved: Preserved | None) -> list[str]:
    if preserved is None or not preserved.total:
        return []
    return [
        f"{_counted(preserved.total, 'local edit')} kept in snapshot {preserved.snapshot}:",
        *_names(preserved.files, preserved.total),
        f"to take one out again: refreshd snapshots restore {short(preserved.snapshot)} PATH",
    ]


def _names(names: Sequence[str], total: int) -> list[str]:
    shown = names[:MOST_NAMES]
    more = [f"    and {total - len(shown)} more"] if total > len(shown) else []
    return [*(f"    {name}" for name in shown), *more]


def of_plan(plan: Plan) -> str:
    lines = [f"{plan.target_ref} is {short(plan.to_commit)}" + (f" ({plan.ref})" if plan.ref else "")]
    if plan.nothing_to_do:
        lines.append("nothing to do")
    if plan.apply:
        lines.append(f"would update {_way(plan)}{_changed(plan.changes)}")
        lines += _names(plan.changes.files, plan.changes.total) if plan.changes else []
    if plan.install:
        lines.append(f"would install with {', '.join(plan.install)}")
    if plan.restart:
        lines.append("would restart the daemon")
    return "\n".join(map(printable, [*lines, *(f"note: {note}" for note in plan.notes)]))


def of_version(version: Version) -> str:
    return _table(
        [
            ("sha", version.sha or "unknown"),
            ("running", f"{version.running.sha or 'unknown'} (refreshd {version.running.version})"),
            ("on disk", f"{version.on_disk.sha or 'unknown'}{_dirt(version)}"),
            ("environment", version.environment),
            ("boot", version.boot_id),
            ("started", moment(version.started_at)),
            *_control_plane(version),
        ]
    )


def of_status(verdict: Verdict, reasons: Sequence[str], report: Status | None) -> str:
    rows = [("health", verdict.replace("_", " ")), *(("", reason) for reason in reasons)]
    if report is None:
        return _table([*rows, ("refreshd", "unknown"), ("running", "unknown"), ("on disk", "unknown")])
    version, last = report.version, report.version.last_update
    rows += [
        ("refreshd", version.running.version),
        ("running", short(version.running.sha)),
        ("on disk", f"{short(version.on_disk.sha)}{_dirt(version)}"),
        ("environment", version.environment),
        ("started", moment(version.started_at)),
        *_control_plane(version),
        ("last update", f"{_words(last.state)}: {last.id} to {_target(last.target_ref)}" if last else "none"),
    ]
    return _table([*rows, *_used(report), *_services(report)])


def _used(report: Status) -> Iterable[tuple[str, str]]:
    process, machine = report.process, report.machine
    yield "process", f"pid {process.pid}, {size(process.memory_bytes)}, {process.cpu_seconds:.1f} s of CPU"
    for child in process.children:
        yield "", f"{child.name}: pid {child.pid}, {size(child.memory_bytes)}"
    available, total = size(machine.memory_available_bytes), size(machine.memory_total_bytes)
    yield "memory", f"{available} of {total} available"
    yield "load", f"{' '.join(map(str, machine.load))} on {_counted(machine.cpus, 'CPU')}"
    for heading, disk in zip(["disk", *[""] * len(machine.disks)], machine.disks, strict=False):
        yield heading, f"{size(disk.free_bytes)} free for {disk.path}"


def _services(report: Status) -> Iterable[tuple[str, str]]:
    for heading, service in zip(["services", *[""] * len(report.services)], report.services, strict=False):
        since = f" for {service.seconds} s" if service.seconds is not None else ""
        code = f", exit code {service.exit_code}" if service.state == "down" and service.exit_code is not None else ""
        unwanted = ", and wanted up" if service.state == "down" and service.wanted_up else ""
        yield heading, f"{service.name} {service.state}{since}{code}{unwanted}"


def of_history(updates: Iterable[Update], width: int | None) -> str:
    rows = [
        (update.id, moment(update.started_at), _words(update.state), _duration(update), _way(update), _asked(update))
        for update in updates
    ]
    if not rows:
        return "no updates yet"
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True)).rstrip() for row in rows)
    return "\n".join(clipped(printable(line), width) if width else printable(line) for line in lines)


def moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _asked(update: Update) -> str:
    back = update.request.rollback_of
    target = f"before {back}" if back else _target(update.request.target_ref)
    return target + (f": {update.error.message}" if update.error else "")


def _dirt(version: Version) -> str:
    match version.on_disk.dirty:
        case True:
            return ", with local edits"
        case False:
            return ", clean"
        case None:
            return ""


def _control_plane(version: Version) -> list[tuple[str, str]]:
    if version.os_sha is None:
        return []
    available = ", an update is available" if version.update_available else ""
    return [("control plane", f"{short(version.os_sha)}{available}")]


def _duration(update: Update) -> str:
    if update.finished_at is None:
        return "-"
    return seconds((update.finished_at - update.started_at).total_seconds())


def size(count: int) -> str:
    gib = count / 1024**3
    return f"{gib:.1f} GiB" if gib >= 1 else f"{count / 1024**2:.0f} MiB"


def seconds(count: float) -> str:
    return f"{max(0.0, count):.1f} s"


def _words(state: State) -> str:
    return state.replace("_", " ")


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<13} {printable(value)}" for name, value in rows)
