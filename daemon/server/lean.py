"""aiohttp's server without its client, which the daemon does not use and which is a third of the package's import.

Half of that is a TLS context that the client makes of the system's certificates while it is imported. So the package is
entered without running its `__init__`, and whoever wants a name of it after all gets the whole of it then.
"""

import importlib
import re
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

PACKAGE = "aiohttp"
_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


def import_server() -> None:
    """Imports `aiohttp.web` alone where that works, else as usual. To be called before anything imports aiohttp."""
    spec = find_spec(PACKAGE)
    if PACKAGE in sys.modules or spec is None:
        return
    try:
        sys.modules[PACKAGE] = _without_contents(spec)
        importlib.import_module(f"{PACKAGE}.web")
    except (ImportError, AttributeError, OSError):  # another version, in which the server needs more of the package
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]


def _without_contents(spec: ModuleSpec) -> ModuleType:
    package = module_from_spec(spec)

    def complete(name: str) -> object:
        # submodules are asked for here before they are imported: those are lower case
        if name[0].isupper() and spec.loader:
            del package.__dict__["__getattr__"]
            spec.loader.exec_module(package)
            return getattr(package, name)
        raise AttributeError(name)

    # the server says it in each answer
    if found := _VERSION.search(Path(spec.origin or "").read_text(encoding="utf-8")):
        package.__dict__["__version__"] = found[1]
    package.__dict__["__getattr__"] = complete
    return package
