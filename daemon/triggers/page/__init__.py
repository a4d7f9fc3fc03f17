"""The machine's page at `/`: for a person with a browser, with or without scripts."""

from daemon.triggers.page.handlers import Page, routes
from daemon.triggers.page.templates import STATIC, Templates

__all__ = ["STATIC", "Page", "Templates", "routes"]
