"""`snapshots`: what updates found in the checkout, and how to get it back."""

import os
import sys
from argparse import Namespace

from daemon.cli import texts
from daemon.cli.asking import ask, git_token
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.terminal import clipped, printable, width_of
from daemon.client import Client
from daemon.git import printable as printable_name
from daemon.models import Changes, KeptSnapshot, Restored, SnapshotReport


def list_all(arguments: Namespace) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        kept = await client.snapshots()
        output.result(_list(kept, width_of(sys.stdout)), {"snapshots": [snapshot.snake() for snapshot in kept]})
        return ExitCode.DONE

    return ask(arguments, work)


def show(arguments: Namespace) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        report = await client.snapshot(arguments.id)
        output.result(_report(report), report.snake())
        return ExitCode.DONE

    return ask(arguments, work)


def diff(arguments: Namespace) -> int:
    async def work(client: Client, output: Output) -> ExitCode:
        found = await client.diff(arguments.a, arguments.b)
        output.result(_changes(found.changes, "no file differs"), found.snake())
        return ExitCode.DONE

    return ask(arguments, work)


def restore(arguments: Namespace) -> int:
    # a name that is not UTF-8 cannot be said in JSON: it goes by the form in which it is shown
    paths = [printable_name(os.fsencode(path)) if _is_odd(path) else path for path in arguments.paths]

    async def work(client: Client, output: Output) -> ExitCode:
        restored = await client.restore(arguments.id, paths or None, git_token=await git_token(arguments))
        output.result(_restored(restored), restored.snake())
        return ExitCode.DONE

    return ask(arguments, work)


def _is_odd(path: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in path)


def _list(kept: tuple[KeptSnapshot, ...], width: int | None) -> str:
    lines = [f"{texts.short(one.id)}  {texts.moment(one.taken_at)}  {printable(one.label)}" for one in kept]
    return "\n".join(clipped(line, width) if width else line for line in lines) or "no snapshots yet"


def _report(report: SnapshotReport) -> str:
    facts = [
        f"snapshot {report.id}",
        f"taken    {texts.moment(report.taken_at)}, {report.label}",
        f"head     {report.head or 'unknown'}",
    ]
    edits = "the commit of then is not here any more, so its local edits are unknown"
    if report.edits is not None:
        edits = _changes(report.edits, "no local edits")
    return "\n".join([*map(printable, facts), edits])


def _restored(restored: Restored) -> str:
    changed = _changes(restored.changes, "nothing to do: the files are those of the snapshot")
    return f"{changed}\nwhat was there before is in snapshot {restored.before}"


def _changes(changes: Changes, none: str) -> str:
    if not changes.total:
        return none
    more = changes.total - len(changes.files)
    return "\n".join([*map(printable, changes.files), *([f"and {more} more"] if more else [])])
