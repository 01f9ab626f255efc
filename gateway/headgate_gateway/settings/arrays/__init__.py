"""The tables of which a settings file may have several, beside its routes."""
