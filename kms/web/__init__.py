"""The pages of the HTTP port: metrics, health, JSON, and one page for people. Read-only."""

from kms.web.server import WebServer
from kms.web.site import pages
from kms.web.view import View

__all__ = ["View", "WebServer", "pages"]
