"""A release of the commit that is checked out: `make release`."""
