"""Programs that make what is not in the tree: packages, man pages and the site."""
