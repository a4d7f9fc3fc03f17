"""What an update does beside its staging: nobody has to wait for it who waits for a remote anyway.

While the remote is asked, the snapshot is made ready. When the commit is here, and is another than HEAD's, the look at
the checkout begins, which decides what is in the snapshot.
"""

from daemon.disk import Need
from daemon.machinery import Machinery
from daemon.meanwhile import Meanwhile
from daemon.refs import Ref
from daemon.snapshots import Draft, Foreseen
from daemon.sources import Source, Staged, StagesInSteps
from daemon.tasks import together


class Ahead:
    """Of one update, by its id; `head` is the commit of the checkout."""

    def __init__(self, machinery: Machinery, update_id: str, head: str | None) -> None:
        self._m = machinery
        self._update_id = update_id
        self._head = head
        self._foreseeing = Meanwhile(self._foresee)
        self._looking = Meanwhile(self._look)

    async def stage(self, source: Source, ref: Ref) -> Staged:
        """Raises what the source raises. `end` has to follow whatever happens."""
        telling = source.telling(self) if isinstance(source, StagesInSteps) else source
        return await telling.stage(ref)

    def asking(self) -> None:
        """A remote may take minutes, in which somebody works: what was seen before it does not count any more."""
        self._foreseeing.begin()
        if self._looking.begun:
            self._looking.disown()

    def found(self) -> None:
        self._looking.begin()

    async def draft(self, staged: Staged) -> Draft | None:
        """For the snapshot; None where that has to look. And the daemon that comes gets a child that will try it."""
        if staged.current:
            return None
        self._looking.begin()
        draft, _ = await together(self._looking.result(), self._m.checker.warm(staged.tree))
        return draft

    async def end(self) -> None:
        """Nothing of it runs any more when this returns."""
        await self._foreseeing.end()
        await self._looking.end()

    async def _foresee(self) -> Foreseen | None:
        label = snapshot_label(self._update_id)
        foreseen, _ = await together(
            self._m.snapshots.foresee(label, update=self._update_id, head=self._head), self._m.checker.foresee()
        )
        return foreseen

    async def _look(self) -> Draft | None:
        # both write the index of the snapshots
        foreseen = await self._foreseeing.result()
        await self._m.disk.require(Need(self._m.snapshots.folder, await self._m.snapshots.space()))
        return await self._m.snapshots.look(self._head, foreseen)


def snapshot_label(update_id: str) -> str:
    return f"before update {update_id}"
