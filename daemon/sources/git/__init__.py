"""Bytes arrive by git: exactly the commit that was asked for, from the checkout's remote."""

from daemon.sources.git.policy import RefPolicy
from daemon.sources.git.source import GitSource

__all__ = ["GitSource", "RefPolicy"]
