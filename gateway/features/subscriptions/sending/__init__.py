"""The sending of wakes: to webhooks, signed and judged, and to wake streams."""
