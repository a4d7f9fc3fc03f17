"""The templates, read once; what they may call is named here."""

import asyncio
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from daemon.control.console import texts
from daemon.web.assets import Assets

NAMES = (
    "_history.html",
    "_list.html",
    "_logs.html",
    "_row.html",
    "_status.html",
    "_toast.html",
    "login.html",
    "machine.html",
    "machines.html",
    "problem.html",
)


class Templates:
    def __init__(self, templates: dict[str, Template]) -> None:
        self._templates = templates

    @classmethod
    async def read(cls, assets: Assets, os_sha: str) -> Self:
        return cls(await asyncio.to_thread(_read, assets, os_sha))

    def render(self, name: str, **values: Any) -> str:  # noqa: ANN401 - what a template prints
        return self._templates[name].render(**values)


def _read(assets: Assets, os_sha: str) -> dict[str, Template]:
    environment = Environment(
        loader=PackageLoader("daemon.control.console"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"ago": texts.ago, "exact": texts.exact, "iso": texts.iso}
    environment.globals |= {"static": assets.url, "os_sha": os_sha or None}
    return {name: environment.get_template(name) for name in NAMES}
