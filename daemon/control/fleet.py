"""Everything that is known of all machines, kept current by looking at them again and again.

Nothing here is written down before it is true: a state is what the provider said, a version what the daemon said.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from daemon.control.changes import Changes
from daemon.control.database import Operations, Sighting, Sightings
from daemon.control.errors import MachineNotFoundError
from daemon.control.models import Activity, FoundMachine, MachineState, MachineView, Operation
from daemon.control.providers import MachineProvider, Preview, RefreshesCode
from daemon.control.providers.asking import client_of
from daemon.control.providers.inventory import REFRESHED
from daemon.errors import RefreshdError
from daemon.log import get_logger
from daemon.models import Version, now

ASK_SECONDS = 5.0  # for one machine's version
AT_ONCE = 32  # machines that are asked at the same time

_ASKABLE = frozenset({MachineState.RUNNING, MachineState.UNKNOWN})
_NEEDS_DAEMON = frozenset({Activity.REFRESH, Activity.ROLLBACK})

log = get_logger()


class Fleet:
    """`interval`, in seconds, is the pause between two looks. `os_sha` is the commit that the control plane runs."""

    def __init__(
        self,
        providers: Sequence[MachineProvider],
        operations: Operations,
        sightings: Sightings,
        changes: Changes,
        *,
        os_sha: str = "",
        interval: float = 5,
    ) -> None:
        self.providers = {provider.name: provider for provider in providers}
        self.os_sha = os_sha
        self.changes = changes
        self.problems: dict[str, str] = {}
        self._operations = operations
        self._sightings = sightings
        self._interval = interval
        self._found: dict[str, tuple[MachineProvider, FoundMachine]] = {}
        self._seen: dict[str, Sighting] = {}
        self._away: dict[str, str] = {}
        self._previews: dict[str, Preview] = {}
        self._views: dict[str, MachineView] = {}
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def open(self) -> None:
        """What was known before this process started."""
        self._seen = dict(await self._sightings.all())

    async def run(self) -> None:
        """For ever. What one look meets does not end it."""
        while True:
            try:
                await self.look()
            except Exception:  # the next look may be luckier; a console that stopped looking would be wrong for ever
                log.exception("look at the machines failed")
            await asyncio.sleep(self._interval)

    def machines(self) -> Sequence[MachineView]:
        return sorted(self._views.values(), key=lambda view: (view.name, view.id))

    def get(self, machine: str) -> MachineView:
        try:
            return self._views[machine]
        except KeyError:
            raise MachineNotFoundError(machine=machine) from None

    def provided(self, machine: str) -> tuple[MachineProvider, FoundMachine]:
        """Who provides it, and how it is known there."""
        try:
            return self._found[machine]
        except KeyError:
            raise MachineNotFoundError(machine=machine) from None

    async def preview(self, machine: str) -> Preview | None:
        """Asked for once, and again when the machine did not answer there."""
        if machine not in self._previews:
            provider, found = self.provided(machine)
            preview = await provider.preview_url(found.ref)
            if preview is None:
                return None
            self._previews[machine] = preview
        return self._previews[machine]

    async def look(self) -> None:
        """Asks every provider for its machines, and every machine for its version."""
        found = await asyncio.gather(*(self._list(provider) for provider in self.providers.values()))
        self._found = {
            machine_id(provider, machine): (provider, machine)
            for provider, machines in zip(self.providers.values(), found, strict=True)
            for machine in machines
        }
        answers = await asyncio.gather(*(self._ask(machine) for machine in self._found))
        versions = {machine: version for machine, version in zip(self._found, answers, strict=True) if version}
        await self._sightings.remember(self._new(versions))
        self._seen |= {machine: Sighting(version, now()) for machine, version in versions.items()}
        await self.refresh_views()

    async def look_again(self, machine: str) -> MachineView | None:
        """At one machine now, and not when its turn comes. None when it is not there any more."""
        if machine not in self._found:
            await self.look()
            return self._views.get(machine)
        provider, _ = self._found[machine]
        listed = {machine_id(provider, other): other for other in await self._list(provider)}
        if machine in listed:
            self._found[machine] = (provider, listed[machine])
            version = await self._ask(machine)
            if version:
                await self._sightings.remember({machine: version})
                self._seen[machine] = Sighting(version, now())
        else:
            self._found.pop(machine, None)
        await self.refresh_views()
        return self._views.get(machine)

    async def refresh_views(self) -> None:
        """Puts together what is known and tells who wants to know what of it has changed."""
        running, latest = await self._operations.running(), await self._operations.latest()
        views = {
            machine: self._view(machine, provider, found, running.get(machine), latest.get(machine))
            for machine, (provider, found) in self._found.items()
        }
        before, self._views = self._views, views
        for machine in before.keys() | views.keys():
            if _shown(before.get(machine)) != _shown(views.get(machine)):
                self.changes.publish(machine)

    async def forget(self, machine: str) -> None:
        for known in (self._found, self._seen, self._away, self._previews):
            known.pop(machine, None)
        await self._sightings.forget(machine)
        await self.refresh_views()

    async def until(self, machine: str, reached: Callable[[MachineView | None], bool]) -> None:
        """Returns when the machine is so; None stands for a machine that is not there any more."""
        with self.changes.subscribed() as reader:
            if reached(self._views.get(machine)):
                return
            async for changed in reader.batches():
                if machine in changed and reached(self._views.get(machine)):
                    return

    async def _list(self, provider: MachineProvider) -> Sequence[FoundMachine]:
        """What was found before where the provider does not answer: its machines run on without us."""
        try:
            machines = await provider.machines()
        except RefreshdError as error:
            self.problems[provider.name] = str(error)
            log.warning("provider does not list its machines", provider=provider.name, reason=str(error))
            return [machine for other, machine in self._found.values() if other is provider]
        self.problems.pop(provider.name, None)
        return machines

    async def _ask(self, machine: str) -> Version | None:
        _, found = self._found[machine]
        if found.state not in _ASKABLE:
            self._previews.pop(machine, None)
            self._away.pop(machine, None)
            return None
        async with self._at_once:
            try:
                preview = await self.preview(machine)
                if preview is None:
                    self._away.pop(machine, None)
                    return None
                version = await self._version(preview)
            except RefreshdError as error:
                self._away[machine] = str(error)
                self._previews.pop(machine, None)
                return None
        self._away.pop(machine, None)
        return version

    async def _version(self, preview: Preview) -> Version:
        async with client_of(preview, timeout=ASK_SECONDS) as client:
            return await client.version()

    def _new(self, versions: Mapping[str, Version]) -> Mapping[str, Version]:
        """Those that say something else than before: the database need not hear it every few seconds."""
        return {
            machine: version
            for machine, version in versions.items()
            if machine not in self._seen or self._seen[machine].version != version
        }

    def _view(
        self,
        machine: str,
        provider: MachineProvider,
        found: FoundMachine,
        operation: Operation | None,
        last: Operation | None,
    ) -> MachineView:
        sighting, away = self._seen.get(machine), self._away.get(machine, "")
        version = sighting.version if sighting else None
        reachable = machine in self._previews and not away and sighting is not None
        state = found.state
        if state is MachineState.UNKNOWN and (reachable or away):
            state = MachineState.RUNNING if reachable else MachineState.UNKNOWN
        return MachineView(
            id=machine,
            name=found.name,
            kind=found.kind,
            state=state,
            detail=found.detail,
            supports=supported(provider, found),
            reachable=reachable,
            problem=away,
            version=version,
            seen_at=sighting.seen_at if sighting else None,
            update_available=self._update_available(version),
            operation=operation,
            last_operation=last,
        )

    def _update_available(self, version: Version | None) -> bool | None:
        if not self.os_sha or version is None or version.running.sha is None:
            return None
        return version.running.sha != self.os_sha


def machine_id(provider: MachineProvider, machine: FoundMachine) -> str:
    return f"{provider.name}.{machine.name}"


def supported(provider: MachineProvider, machine: FoundMachine) -> tuple[Activity, ...]:
    refreshed = isinstance(provider, RefreshesCode) and machine.kind in REFRESHED
    possible = provider.activities if refreshed else provider.activities - _NEEDS_DAEMON
    return tuple(activity for activity in Activity if activity in possible)


def _shown(view: MachineView | None) -> MachineView | None:
    """Without what changes at each look and tells nothing."""
    if view is None:
        return None
    version = view.version
    quiet = version and version.model_copy(update={"on_disk": version.on_disk.model_copy(update={"dirty_at": None})})
    return view.model_copy(update={"seen_at": None, "version": quiet})
