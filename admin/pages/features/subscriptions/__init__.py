"""The page of subscriptions: a list of them, and each with its streams and changes to it."""

from admin.pages.features.subscriptions.page import PAGE

__all__ = ["PAGE"]
