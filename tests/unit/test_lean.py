"""The server is imported without the client, and whoever needs the client still gets it."""

import subprocess
import sys
from pathlib import Path

import pytest


def said(program: str, *path: Path) -> str:
    """What another interpreter prints, `path` first on its path."""
    setup = (
        f"import sys; sys.path[:0] = {[str(folder) for folder in path]}; from daemon.server.lean import import_server\n"
    )
    ran = subprocess.run([sys.executable, "-c", setup + program], check=True, capture_output=True, text=True)
    return ran.stdout.strip()


def test_the_client_is_not_imported() -> None:
    program = (
        "import_server(); from aiohttp import web; print('aiohttp.client' in sys.modules, web.Application.__name__)"
    )
    assert said(program) == "False Application"


def test_the_whole_package_is_there_for_whoever_needs_the_client() -> None:
    program = (
        "import_server(); import aiohttp; web = aiohttp.web; print(aiohttp.ClientSession.__name__, aiohttp.web is web)"
    )
    assert said(program) == "ClientSession True"


def test_what_is_imported_late_finds_the_standard_library_whole() -> None:
    late = "import prometheus_client.exposition, psutil, aiohttp_sse, urllib.request, http.client"
    program = f"import_server(); import daemon.app; {late}; print(http.client.HTTPSConnection.__name__)"
    assert said(program, Path(__file__).parents[2]) == "HTTPSConnection"


def test_answers_name_the_same_server_as_ever() -> None:
    show = "from aiohttp.http import SERVER_SOFTWARE; print(SERVER_SOFTWARE)"
    assert said(f"import_server(); {show}") == said(show)


@pytest.mark.parametrize("needs", ["from . import other", "import aiohttp; aiohttp.other"])
def test_a_server_that_needs_the_whole_package_gets_it(tmp_path: Path, needs: str) -> None:
    package = tmp_path / "aiohttp"
    package.mkdir()
    (package / "__init__.py").write_text("other = 1\n")
    (package / "web.py").write_text(f"{needs}\nname = 'web'\n")
    assert said("import_server(); import aiohttp.web; print(aiohttp.web.name)", tmp_path) == "web"
