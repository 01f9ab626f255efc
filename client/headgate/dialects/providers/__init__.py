"""The families of providers, each in a module of its own."""
