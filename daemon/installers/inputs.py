"""What an install depends on, as text to compare: files by content, programs by what the file system says of them."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path


def digest(files: Mapping[str, str], *facts: str) -> str:
    """SHA-256 over path and blob id of each file, whatever their order, and over the facts."""
    document = json.dumps([sorted(files.items()), facts])
    return hashlib.sha256(document.encode()).hexdigest()


def program_identity(name: str, search_path: str | None) -> str:
    """Differs after the program was replaced. No process is started, so that it costs microseconds."""
    found = shutil.which(name, path=search_path)
    return file_identity(Path(found)) if found else f"{name} is missing"


def file_identity(path: Path) -> str:
    try:
        real = path.resolve()
        status = real.stat()
    except OSError:
        return f"{path} is unreadable"
    # the change time too: images are built with modification times that say nothing, and a launcher keeps its size
    return f"{real} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
