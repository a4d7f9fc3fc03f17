"""Bytes arrive by rsync: the files of the host's own tree, as its git lists them."""

from daemon.sources.mount.source import MountSource

__all__ = ["MountSource"]
