"""Features built on the core, which does not know them: their routes and operations."""
