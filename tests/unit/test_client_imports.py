"""The client stands alone: it comes to hosts that are no machine, and no Linux either."""

import json
import subprocess
import sys

PROGRAM = """
import json, os, sys
from importlib.abc import MetaPathFinder
import aiohttp
from pydantic import BaseModel, TypeAdapter  # how libraries live elsewhere is their own concern

LINUX_ONLY = ("eventfd", "memfd_create", "pidfd_open", "sched_setaffinity", "setns", "getrandom", "splice")
SERVER_ONLY = ("structlog", "psutil", "prometheus_client", "jinja2", "itsdangerous", "aiohttp_sse")

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in SERVER_ONLY:
            raise ImportError(f"the client needs {name}, which belongs to the server")

for name in LINUX_ONLY:
    if hasattr(os, name):
        delattr(os, name)
sys.platform = "darwin"
sys.meta_path.insert(0, Refuse())
import daemon.client
print(json.dumps(sorted(name for name in sys.modules if name.partition(".")[0] == "daemon")))
"""
SERVER = (
    "app",
    "control",
    "engine",
    "installers",
    "journal",
    "pipeline",
    "process",
    "snapshots",
    "sources",
    "triggers",
)


def test_it_imports_nothing_of_the_server_and_nothing_of_linux() -> None:
    ran = subprocess.run((sys.executable, "-c", PROGRAM), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    modules = json.loads(ran.stdout)
    assert "daemon.client.session" in modules
    assert not [name for name in modules if name.startswith(tuple(f"daemon.{part}" for part in SERVER))]


def test_the_refusal_works() -> None:
    """The test above would notice."""
    ran = subprocess.run(
        (sys.executable, "-c", PROGRAM.replace("import daemon.client", "import daemon.journal")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "which belongs to the server" in ran.stderr
