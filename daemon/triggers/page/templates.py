"""The templates, as they were when this process started: an update replaces the files under it."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.triggers.page.phrases import FILTERS
from daemon.web.assets import Assets

if TYPE_CHECKING:  # imported when the first page is asked for
    from jinja2 import Environment

FOLDER = Path(__file__).parent
STATIC = FOLDER / "static"


class Templates:
    def __init__(self, assets: Assets) -> None:
        """Blocks."""
        self._assets = assets
        self._sources = {path.name: path.read_text() for path in (FOLDER / "templates").glob("*.html")}

    def render(self, name: str, **values: object) -> str:
        """Blocks."""
        return self._environment.get_template(name).render(values)

    @cached_property
    def _environment(self) -> "Environment":
        from jinja2 import DictLoader, Environment, StrictUndefined  # noqa: PLC0415 - late, as above

        environment = Environment(
            loader=DictLoader(self._sources),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters.update(FILTERS)
        environment.globals["asset"] = self._assets.url
        return environment
