"""Nothing is lost: what updates find in the checkout, by content, in a repository of its own."""

from daemon.snapshots.foresight import Foreseen
from daemon.snapshots.look import Draft
from daemon.snapshots.store import Snapshot, Snapshots

__all__ = ["Draft", "Foreseen", "Snapshot", "Snapshots"]
