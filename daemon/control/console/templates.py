"""The templates, read once; what they may call is named here."""

import asyncio
from typing import Any, Self

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from daemon.control.console import texts
from daemon.web.assets import Assets


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
    assets.url("base.css")  # which reads them all
    environment.globals |= {"static": assets.url, "os_sha": os_sha or None}
    # those too that are only included: nothing is looked for while a page is made
    return {name: environment.get_template(name) for name in environment.list_templates()}
