"""The families of providers, each in a module or a package of its own."""
