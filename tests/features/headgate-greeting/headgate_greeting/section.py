"""The settings of the greeting: `[greeting]`."""

from __future__ import annotations

from typing import Annotated

from headgate_gateway.settings.reading.kinds import Count, ValueKind
from headgate_gateway.settings.reading.reload_effects import NEXT
from headgate_gateway.settings.reading.tables import Section, setting

Word = Annotated[str, ValueKind("a word")]


class GreetingSettings(Section):
    """The section of the greeting."""

    word: Word = setting("Hello", description="The first word.", reload=NEXT)
    times: Count = setting(1, ge=1, le=9, description="How often it is said.", reload=NEXT)
