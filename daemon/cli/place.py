"""Which machine a command asks, and what it prints: options that may stand before the command or after it.

Standard library only.
"""

import argparse
from pathlib import Path
from typing import Any, Final

_PLACES: Final = ("socket", "machine", "url")
_NAMES: Final = (*_PLACES, "token_file")
_FLAGS: Final = ("json", "quiet")
BEFORE: Final = "before_"  # the command
AMID: Final = "amid_"  # the words of a command of two, such as `user list`


def connection_options(where: str = "") -> argparse.ArgumentParser:
    """`where` they stand; after the command by default."""
    parent = argparse.ArgumentParser(add_help=False)
    place = parent.add_mutually_exclusive_group()
    place.add_argument(
        "--socket", type=Path, dest=f"{where}socket", metavar="PATH", help="its Unix socket (the default way)"
    )
    place.add_argument(
        "--machine",
        dest=f"{where}machine",
        metavar="NAME",
        help="its container, through the Docker engine; no port, no token",
    )
    place.add_argument(
        "--url", dest=f"{where}url", metavar="URL", help="its TCP address, such as http://127.0.0.1:3000"
    )
    parent.add_argument(
        "--token-file", type=Path, dest=f"{where}token_file", metavar="FILE", help="the bearer token for --url"
    )
    return parent


def output_options(where: str = "") -> argparse.ArgumentParser:
    """As above."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument("--json", dest=f"{where}json", action="store_true", help="one JSON document on standard output")
    parent.add_argument(
        "-q",
        "--quiet",
        dest=f"{where}quiet",
        action="store_true",
        help="no progress and no text; errors are still said",
    )
    return parent


def early_options(where: str) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """All of them, for `settle`."""
    return connection_options(where), output_options(where)


def settle(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """As if all of them stood after the command. Ends the program where they contradict each other, or mean nothing.

    A second place is refused and not preferred: the token that goes with the first one would be sent there.
    """
    earlier = [_taken(arguments, where) for where in (BEFORE, AMID)]
    given = [*earlier, {name: value for name in _NAMES if (value := getattr(arguments, name, None))}]
    for options in earlier:
        for name in options.keys() - vars(arguments).keys():
            why = ", which asks no machine by it" if name in _NAMES else ""
            parser.error(f"cannot use {_option(name)} with this command{why}")
    for names in (_PLACES, ("token_file",)):
        found = [_option(name) for options in given for name in names if name in options]
        if len(found) > 1:
            parser.error(f"cannot use both {' and '.join(found)}: give one, before the command or after it")
    for options in earlier:
        for name, value in options.items():
            repeatable = isinstance(getattr(arguments, name), list)
            setattr(arguments, name, [value] if repeatable else value)
    return arguments


def _taken(arguments: argparse.Namespace, where: str) -> dict[str, Any]:
    values = vars(arguments)
    found = {name: values.pop(f"{where}{name}", None) for name in (*_NAMES, *_FLAGS)}
    return {name: value for name, value in found.items() if value not in {None, False}}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
