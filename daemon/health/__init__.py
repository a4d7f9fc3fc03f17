"""How this machine is: the daemon, its process, what s6 supervises beside it, and what the machine has left."""

from daemon.health.shapes import Status, Verdict

__all__ = ["Status", "Verdict"]
