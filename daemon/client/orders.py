"""What can be asked for: another commit, or the way back."""

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote


@dataclass(frozen=True)
class Target:
    """What to ask for; a `target_ref` is a branch, a tag, a full ref or a full commit id.

    `trigger` is for the record, where it is not simply a client that asks.
    """

    name: str
    kind: Literal["target_ref", "branch", "commit"] = "target_ref"
    force: bool = False
    git_token: str | None = field(default=None, repr=False)
    trigger: Literal["command_file"] | None = None

    @property
    def path(self) -> str:
        return "/api/v1/update"

    @property
    def body(self) -> dict[str, Any]:
        optional = {"force": self.force or None, "git_token": self.git_token, "trigger": self.trigger}
        return {self.kind: self.name} | {name: value for name, value in optional.items() if value is not None}


@dataclass(frozen=True)
class Rollback:
    """Back to the state before an update; by default before the last one that succeeded."""

    update_id: str = "last"
    git_token: str | None = field(default=None, repr=False)

    @property
    def path(self) -> str:
        return f"{update_path(self.update_id)}/rollback"

    @property
    def body(self) -> dict[str, Any]:
        return {} if self.git_token is None else {"git_token": self.git_token}


Order = str | Target | Rollback


def order_of(order: Order) -> Target | Rollback:
    return Target(order) if isinstance(order, str) else order


def update_path(update_id: str) -> str:
    return f"/api/v1/updates/{quote(update_id, safe='')}"
