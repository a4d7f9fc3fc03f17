"""Nothing is lost: what updates find in the checkout, by content, in a repository of its own."""

from daemon.snapshots.passed_over import Look
from daemon.snapshots.store import Snapshot, Snapshots

__all__ = ["Look", "Snapshot", "Snapshots"]
