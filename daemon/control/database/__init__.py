"""What the control plane remembers: what was done to machines, what is being done, and what each was when last seen.

No secret is in it: tokens of machines are computed, preview tokens are asked for each time, users are in a file.
"""

from daemon.control.database.operations import Operations
from daemon.control.database.sightings import Sighting, Sightings

__all__ = ["Operations", "Sighting", "Sightings"]
