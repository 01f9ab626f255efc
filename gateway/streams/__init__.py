"""Operations on streams: rules from `protocol` decided here, and carried out on a log."""
