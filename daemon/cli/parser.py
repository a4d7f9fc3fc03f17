"""The command line as argparse knows it. Standard library only, so that --help costs nothing."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from daemon import __version__
from daemon.cli.exit_codes import DESCRIPTION
from daemon.cli.place import AMID, BEFORE, connection_options, early_options, output_options, settle

MOST_LISTED = 200
_LONGEST = 86_400.0  # seconds

_EXAMPLES = """\
examples:
  refreshd status
  refreshd update main
  refreshd update --branch main --dry-run
  refreshd update --commit 0123456789abcdef0123456789abcdef01234567 --timeout 300
  refreshd update main --machine my-container
  refreshd --machine my-container logs --no-follow
  refreshd version --json --url http://127.0.0.1:3000 --token-file token.txt
  refreshd snapshots restore 1a2b3c4d src/main.py
  refreshd request --branch dev --wait
  refreshd overlay / --dry-run

--socket, --machine, --url, --token-file, --json and --quiet may stand before the command or after it.

environment:
  REFRESHD_SOCKET or REFRESHD_RUN_DIR   where the Unix socket is (/run/refreshd/refreshd.sock)
  REFRESHD_TOKEN_FILE or REFRESHD_TOKEN the bearer token that goes with --url
  NO_COLOR                              no colours

"""
_UPDATE_EXAMPLES = """\
examples:
  refreshd update main
  refreshd update v1.4.0 --dry-run
  refreshd update --branch main --no-wait
  refreshd update main --json --quiet | jq -r .to_commit

With the same --idempotency-key, the same update is joined instead of a second one started.
"""


_SNAPSHOT_EXAMPLES = """\
examples:
  refreshd snapshots list
  refreshd snapshots show 1a2b3c4d
  refreshd snapshots diff 1a2b3c4d now
  refreshd snapshots restore 1a2b3c4d src/main.py

What a restore replaces is in a snapshot of its own, which it names.
"""


_LOGS_EXAMPLES = """\
examples:
  refreshd logs
  refreshd logs --no-follow --grep "update ends"
  refreshd logs -n all --no-follow --timestamps
  refreshd logs --service web

In the machine the files of the logger are read, so it also works while the daemon is down.
"""
_REQUEST_EXAMPLES = """\
examples:
  refreshd request --branch dev --wait
  refreshd request --commit 0123456789abcdef0123456789abcdef01234567 --wait --json

The folder is --folder, or REFRESHD_COMMANDS, or ~/.local/state/opencode/opencode-cloud/commands.
"""
_LISTEN_EXAMPLES = """\
examples:
  refreshd listen --machine my-container
  refreshd listen --machine one=$HOME/machines/one --machine two=$HOME/machines/two
  refreshd listen --url http://127.0.0.1:3000 --token-file token.txt

Ends with 0 when it is told to, and with 3 when no machine runs; `refreshd install` has it started again.
"""


_SERVE_EXAMPLES = """\
example:
  ITERATE_REPO=$HOME/repo REFRESHD_STATE_DIR=$HOME/state REFRESHD_RUN_DIR=$HOME/run refreshd serve

It is told by its environment (README, Environment), and ends after each update so that its supervisor starts it again.
"""
_CONTROL_EXAMPLES = """\
example:
  CONTROL_STATE_DIR=$HOME/control CONTROL_TOKEN_FILE=$HOME/token CONTROL_DOCKER_IMAGE=refreshd refreshd control

It is told by its environment (README, Many machines).
"""
_ROLES = ("read", "update")
_USER_EXAMPLES = """\
examples:
  refreshd user add ana --role update
  refreshd user list --json
  refreshd user passwd ana

Where no daemon listens, the machine's own files are changed; REFRESHD_STATE_DIR says where they are.
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Raises SystemExit as argparse does."""
    parser = _build()
    return settle(parser, parser.parse_args(argv))


def _build() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="refreshd",
        description="Says which code a machine runs, and refreshes it in place.",
        epilog=_EXAMPLES + DESCRIPTION,
        parents=early_options(BEFORE),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"refreshd {__version__}")
    _Commands(parser).add_all()
    return parser


class _Commands:
    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
        self._asking = (connection_options(), output_options())

    def add_all(self) -> None:
        self._add_daemon()
        self._add_reports()
        self._add_update()
        self._add_rollback()
        self._add_snapshots()
        self._add_users()
        self._add_logs()
        self._add_request()
        self._add_listen()
        self._add_service()
        self._add_dial_stdio()
        self._add_overlay()
        self._add_types()
        control = self.add("control", "control:run", "run the control plane of many machines, with its console")
        control.epilog = _CONTROL_EXAMPLES

    def _add_daemon(self) -> None:
        serve = self.add("serve", "serving:serve", "run the daemon in the foreground")
        serve.epilog = _SERVE_EXAMPLES
        check = self.add("check", "serving:check", "import and configure the code, start nothing")
        check.add_argument(
            "--after-fd",
            type=int,
            metavar="N",
            help="import the libraries, say so and wait for a byte, both on descriptor N",
        )
        recover = self.add(
            "recover", "serving:recover", "end what a dead daemon left; the guard runs it before a start"
        )
        recover.add_argument("--crashing", action="store_true", help="the daemon was started again and again in vain")
        sync = self.add("sync", "serving:sync", "refresh once in this process, before the daemon starts")
        sync.add_argument("ref", nargs="?", metavar="REF", help="branch, tag or full commit id")

    def _add_reports(self) -> None:
        self.add("version", "reports:version", "say which code is on disk and which one runs", *self._asking)
        self.add("status", "status:run", "say how the daemon is; exit 0 when it is healthy", *self._asking)
        history = self.add("history", "reports:history", "list updates, newest first", *self._asking)
        history.add_argument(
            "-n",
            "--lines",
            type=_count,
            default=10,
            metavar="N",
            help="how many (10; at most %d)" % MOST_LISTED,  # noqa: UP031 - argparse reads % in help itself
        )

    def _add_update(self) -> None:
        update = self.add("update", "update:run", "refresh the code, and wait until it runs", *self._asking)
        update.epilog = _UPDATE_EXAMPLES
        target = update.add_mutually_exclusive_group(required=True)
        target.add_argument("ref", nargs="?", metavar="REF", help="branch, tag, full ref or full commit id")
        target.add_argument("--branch", metavar="NAME", help="a branch and nothing else")
        target.add_argument("--commit", metavar="ID", help="a full commit id")
        update.add_argument("--dry-run", action="store_true", help="say what would be done; touch nothing")
        _add_git_token(update)
        update.add_argument("--force", action="store_true", help="also to a commit that did not run when it was tried")
        update.set_defaults(rollback=False)
        self._add_waiting(update)

    def _add_rollback(self) -> None:
        rollback = self.add("rollback", "update:run", "go back to the state before an update", *self._asking)
        rollback.add_argument(
            "id", nargs="?", default="last", metavar="ID", help="of the update (the last that succeeded)"
        )
        _add_git_token(rollback)
        rollback.set_defaults(rollback=True, dry_run=False)
        self._add_waiting(rollback)

    def _add_snapshots(self) -> None:
        snapshots = self.add(
            "snapshots",
            "snapshots:list_all",
            "look at what updates found, and take files back out of it",
            *early_options(AMID),
        )
        snapshots.epilog = _SNAPSHOT_EXAMPLES
        inner = _Commands(snapshots)
        inner.add("list", "snapshots:list_all", "list the snapshots that are kept, newest first", *self._asking)
        show = inner.add("show", "snapshots:show", "say which local edits a snapshot holds", *self._asking)
        diff = inner.add("diff", "snapshots:diff", "say which files differ", *self._asking)
        restore = inner.add("restore", "snapshots:restore", "make files what they were", *self._asking)
        for command in (show, restore):
            command.add_argument("id", metavar="ID", help="of the snapshot, or the beginning of one")
        diff.add_argument("a", metavar="A", help="of a snapshot, or the beginning of one")
        diff.add_argument("b", nargs="?", default="now", metavar="B", help="of another, or now: the checkout as it is")
        restore.add_argument("paths", nargs="*", metavar="PATH", help="in the checkout, literally (everything)")
        _add_git_token(restore)

    def _add_logs(self) -> None:
        logs = self.add("logs", "logs:run", "show what the daemon logged, and go on with what it logs", self._asking[0])
        logs.epilog = _LOGS_EXAMPLES
        logs.add_argument(
            "-n", "--lines", type=_lines, default=100, metavar="N", help="the last N, after --grep, or all (100)"
        )
        logs.add_argument("--no-follow", dest="follow", action="store_false", help="end with the newest line")
        logs.add_argument("--timestamps", action="store_true", help="begin with the time at which it was logged")
        logs.add_argument("--grep", default="", metavar="TEXT", help="only lines that hold this text")
        logs.add_argument("--service", default="refreshd", metavar="NAME", help="of another service of the machine")
        logs.add_argument("--json", action="store_true", help="one JSON document for each line")

    def _add_users(self) -> None:
        users = self.add("user", "users:list_all", "say who may ask over TCP", *early_options(AMID))
        users.epilog = _USER_EXAMPLES
        inner = _Commands(users)
        inner.add("list", "users:list_all", "list the users", *self._asking)
        add = inner.add("add", "users:add", "add a user and show its token", *self._asking)
        passwd = inner.add("passwd", "users:passwd", "give a user a new token, and end the old one", *self._asking)
        enable = inner.add("enable", "users:enable", "let a disabled user in again", *self._asking)
        disable = inner.add("disable", "users:disable", "let a user in no more", *self._asking)
        role = inner.add("role", "users:role", "give a user another role", *self._asking)
        remove = inner.add("remove", "users:remove", "remove a user", *self._asking)
        for command in (add, passwd, enable, disable, role, remove):
            command.add_argument("name", metavar="NAME", help="a-z, 0-9, dot, dash and underscore, a letter first")
        for command in (add, passwd):
            command.add_argument("--generate", action="store_true", help="generate the token, as is always done")
        add.add_argument("--role", choices=_ROLES, default="read", help="what the user may do (read)")
        role.add_argument("role", choices=_ROLES, help="what the user may do")

    def _add_waiting(self, command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--wait", action=argparse.BooleanOptionalAction, default=True, help="until the code runs (the default)"
        )
        command.add_argument("--idempotency-key", metavar="KEY", help="the same key is the same request")
        command.add_argument(
            "--timeout", type=_seconds, default=1800.0, metavar="SECONDS", help="how long to wait (1800)"
        )

    def _add_request(self) -> None:
        request = self.add("request", "request:run", "in a machine: ask its host for an update", output_options())
        request.epilog = _REQUEST_EXAMPLES
        target = request.add_mutually_exclusive_group()
        target.add_argument("--branch", metavar="NAME", help="a branch (the host's default)")
        target.add_argument("--commit", metavar="ID", help="a full commit id")
        request.add_argument("--wait", action="store_true", help="for the result")
        request.add_argument(
            "--timeout", type=_seconds, default=1800.0, metavar="SECONDS", help="how long to wait (1800)"
        )
        request.add_argument("--request-id", metavar="TEXT", help="what names the result (one is made up)")
        request.add_argument("--folder", type=Path, metavar="DIR", help="of the command file")

    def _add_listen(self) -> None:
        listen = self.add("listen", "listen:run", "on a host: update machines when they ask", _listen_options())
        listen.epilog = _LISTEN_EXAMPLES

    def _add_service(self) -> None:
        which = argparse.ArgumentParser(add_help=False)
        which.add_argument("--manager", choices=("systemd", "launchd"), help="of services (this system's own)")
        install = self.add(
            "install",
            "install:install",
            "on a host: have the listener run",
            _listen_options(),
            output_options(),
            which,
        )
        install.description = "Installs and starts a service of this user that runs `refreshd listen`."
        install.add_argument("--print", action="store_true", help="say what the service is; install nothing")
        self.add("uninstall", "install:uninstall", "on a host: stop and remove that service", output_options(), which)

    def _add_dial_stdio(self) -> None:
        dial = self.add(
            "dial-stdio", "dial_stdio:run", "in a machine: the daemon's socket on standard input and output"
        )
        dial.add_argument("--socket", type=Path, metavar="PATH", help="its Unix socket")

    def _add_types(self) -> None:
        types = self.add("types", "types:show", "print the TypeScript declaration of the tRPC router")
        types.add_argument("--control", action="store_true", help="of the control plane's router, and not a machine's")
        types.epilog = "example:\n  refreshd types > refreshd.d.ts"

    def _add_overlay(self) -> None:
        overlay = self.add("overlay", "overlay:run", "lay the machine's files out in a folder", output_options())
        overlay.description = "Lays out the s6 definitions and the entry point of a machine, such as in its image's /."
        overlay.add_argument("folder", type=Path, metavar="DIR", help="the root of the machine's file system")
        overlay.add_argument("--force", action="store_true", help="overwrite files that differ")
        overlay.add_argument("--dry-run", action="store_true", help="say what would be written")

    def add(self, name: str, where: str, summary: str, *options: argparse.ArgumentParser) -> argparse.ArgumentParser:
        module, _, function = where.partition(":")
        command = self._commands.add_parser(
            name,
            help=summary,
            description=f"{summary[0].upper()}{summary[1:]}.",
            parents=options,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.set_defaults(module=f"daemon.cli.{module}", function=function)
        return command


def _listen_options() -> argparse.ArgumentParser:
    parent = argparse.ArgumentParser(add_help=False)
    where = parent.add_mutually_exclusive_group()
    where.add_argument(
        "--machine",
        action="append",
        default=[],
        metavar="NAME[=DIR]",
        help="a container, and the folder that is shared with it; may be repeated",
    )
    where.add_argument("--socket", type=Path, metavar="PATH", help="the machine's Unix socket")
    where.add_argument("--url", metavar="URL", help="its TCP address, such as http://127.0.0.1:3000")
    parent.add_argument("--token-file", type=Path, metavar="FILE", help="the bearer token for --url")
    parent.add_argument("--state", type=Path, metavar="DIR", help="shared with it (~/.local/state/opencode)")
    parent.add_argument("--default-branch", default="dev", metavar="NAME", help="when none is asked for (dev)")
    parent.add_argument("--timeout", type=_seconds, default=1800.0, metavar="SECONDS", help="of an update (1800)")
    return parent


def _add_git_token(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--git-token-file", type=Path, metavar="FILE", help="a token for the git remote, for this request alone"
    )


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST_LISTED:
        return int(text)
    raise argparse.ArgumentTypeError(f"give a number from 1 to {MOST_LISTED}")


def _lines(text: str) -> int | None:
    """None means all."""
    if text == "all":
        return None
    if text.isascii() and text.isdigit() and len(text) <= 6:  # noqa: PLR2004 - a million lines are as good as all
        return int(text)
    raise argparse.ArgumentTypeError("give a number of lines, or all")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if 0 < seconds <= _LONGEST:  # false for NaN too
        return seconds
    raise argparse.ArgumentTypeError(f"give a number of seconds, at most {_LONGEST:g}")
