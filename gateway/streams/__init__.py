"""Operations on streams: decided by the rules of `protocol`, and carried out on a log."""
