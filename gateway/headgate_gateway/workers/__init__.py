"""Several processes that serve one port, and the one that watches over them."""
