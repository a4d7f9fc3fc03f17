"""Who a container's user is, by the image's own list of users."""

from typing import NamedTuple


class Owner(NamedTuple):
    uid: int
    gid: int


ROOT = Owner(0, 0)


def owner_of(user: str, passwd: str) -> Owner:
    """`user` is what an image says: a name or a number, perhaps with a group. Root where it cannot be known."""
    name, _, group = user.partition(":")
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) > 3 and name in {fields[0], fields[2]} and fields[2].isdigit() and fields[3].isdigit():  # noqa: PLR2004 - name, password, uid, gid
            return Owner(int(fields[2]), int(group) if group.isdigit() else int(fields[3]))
    if name.isdigit():
        return Owner(int(name), int(group) if group.isdigit() else 0)
    return ROOT
