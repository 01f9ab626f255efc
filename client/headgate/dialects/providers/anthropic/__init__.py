"""Anthropic's API: messages."""

from __future__ import annotations

from headgate.dialects.contract import Provider
from headgate.dialects.providers.anthropic.messages import MESSAGES

PROVIDER = Provider(("X-Api-Key", "Authorization"), (MESSAGES,))
