"""`update` and `rollback`: ask for other code and see it through, over the daemon's restart."""

import shlex
import sys
import uuid
from argparse import Namespace
from dataclasses import replace
from os import environ

from daemon.cli import texts
from daemon.cli.asking import ask, connection_words, git_token
from daemon.cli.exit_codes import ExitCode
from daemon.cli.output import Output
from daemon.cli.progress import Progress, progress_on
from daemon.client import Client, Rollback, Target
from daemon.models import Update


def run(arguments: Namespace) -> int:
    asking = _Asking(arguments)
    try:
        # the guard may put the old code back before a daemon listens again: the time limit is patience enough
        return ask(arguments, asking.work, patience=arguments.timeout)
    except KeyboardInterrupt:
        if not arguments.dry_run:
            sys.stderr.write(asking.what_goes_on())
        return ExitCode.INTERRUPTED


class _Asking:
    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._target = _target(arguments)
        self._key: str = arguments.idempotency_key or uuid.uuid4().hex
        self._progress = Progress() if arguments.quiet else progress_on(sys.stderr, environ)

    async def work(self, client: Client, output: Output) -> ExitCode:
        self._target = replace(self._target, git_token=await git_token(self._arguments))
        if self._arguments.dry_run and isinstance(self._target, Target):
            plan = await client.plan(self._target, limit=self._arguments.timeout)
            output.result(texts.of_plan(plan), plan.snake())
        elif not self._arguments.wait:
            update = await client.update(self._target, idempotency_key=self._key)
            output.result(f"{texts.of_update(update)}\nfollow it: {self._again()}", update.snake())
        else:
            update = await self._refresh(client)
            output.result(texts.of_update(update), update.snake())
        return ExitCode.DONE

    async def _refresh(self, client: Client) -> Update:
        async with self._progress:
            return await client.refresh(
                self._target,
                idempotency_key=self._key,
                limit=self._arguments.timeout,
                watcher=self._progress,
            )

    def what_goes_on(self) -> str:
        """For whoever stops waiting."""
        accepted = self._progress.update_id
        fate = f"update {accepted} goes on in the machine" if accepted else "if the request arrived, the update goes on"
        history = shlex.join(["refreshd", "history", "-n", "1", *connection_words(self._arguments)])
        return f"\nrefreshd: {fate}\nfollow it: {self._again()}\nsee how it ended: {history}\n"

    def _again(self) -> str:
        """The same key joins the same update, running or ended."""
        key = ("--idempotency-key", self._key)
        return shlex.join(["refreshd", *_words(self._target), *key, *connection_words(self._arguments)])


def _target(arguments: Namespace) -> Target | Rollback:
    if arguments.rollback:
        return Rollback(arguments.id)
    if arguments.branch is not None:
        return Target(arguments.branch, "branch", arguments.force)
    if arguments.commit is not None:
        return Target(arguments.commit, "commit", arguments.force)
    return Target(arguments.ref, force=arguments.force)


def _words(target: Target | Rollback) -> list[str]:
    """The command that asks for it."""
    if isinstance(target, Rollback):
        return ["rollback", target.update_id]
    option = [] if target.kind == "target_ref" else [f"--{target.kind}"]
    return ["update", *option, target.name, *(["--force"] if target.force else [])]
