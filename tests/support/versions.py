"""What a daemon says of itself, made up."""

from datetime import UTC, datetime

from daemon.models import OnDisk, Running, Version

STARTED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def version_of(commit: str, *, boot_id: str = "boot-1") -> Version:
    return Version(
        sha=commit,
        running=Running(sha=commit, version="0.1.0"),
        on_disk=OnDisk(sha=commit, dirty=False, dirty_at=STARTED_AT),
        dirty=False,
        environment="daytona",
        boot_id=boot_id,
        started_at=STARTED_AT,
        os_sha=None,
        update_available=None,
        last_update=None,
    )
