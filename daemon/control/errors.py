"""What can go wrong between the control plane and its machines."""

from dataclasses import dataclass

from daemon.errors import RefreshdError


@dataclass(kw_only=True, eq=False)
class MachineNotFoundError(RefreshdError):
    code = "machine_not_found"
    status = 404
    template = "cannot find the machine {machine!r}"
    machine: str


@dataclass(kw_only=True, eq=False)
class ActionUnsupportedError(RefreshdError):
    code = "unsupported"
    status = 422
    template = "cannot {action} the machine {machine!r}: machines of the type {kind} do not support it"
    action: str
    machine: str
    kind: str


@dataclass(kw_only=True, eq=False)
class OperationRunningError(RefreshdError):
    """`running` is the id of the operation that the caller has to wait for."""

    code = "operation_running"
    status = 409
    template = "cannot {action} {machine!r} now: {running_action} {running} by {by} is under way; wait for it to end"
    action: str
    machine: str
    running: str
    running_action: str
    by: str


@dataclass(kw_only=True, eq=False)
class ProviderError(RefreshdError):
    """What an engine or a cloud answered, without anything secret."""

    code = "provider_failed"
    status = 502
    template = "cannot {action}: {provider} says: {reason}"
    action: str
    provider: str
    reason: str


@dataclass(kw_only=True, eq=False)
class ProviderTimeoutError(RefreshdError):
    code = "provider_timeout"
    status = 504
    template = "cannot {action}: {provider} did not answer within {seconds:g} s"
    action: str
    provider: str
    seconds: float


@dataclass(kw_only=True, eq=False)
class MachineSpecError(RefreshdError):
    code = "bad_machine"
    status = 400
    template = "cannot create a machine: {reason}"
    reason: str


@dataclass(kw_only=True, eq=False)
class MachineStoppedError(RefreshdError):
    code = "machine_stopped"
    status = 422
    template = "cannot {action} {machine!r}: it is {state}; start it first"
    action: str
    machine: str
    state: str


@dataclass(kw_only=True, eq=False)
class NoTargetError(RefreshdError):
    code = "no_target"
    status = 400
    template = "cannot refresh without a target: give targetRef, or set ITERATE_GIT_SHA for the control plane"
