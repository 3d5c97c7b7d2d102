"""The pages of the HTTP port: metrics, health, JSON, one page for people, and what writes
schedules for whoever has the token."""

from kms.web.server import WebServer
from kms.web.site import pages
from kms.web.view import View
from kms.web.writing import Writing

__all__ = ["View", "WebServer", "Writing", "pages"]
