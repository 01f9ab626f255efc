"""Tools that look at servers and their data from outside; `gateway.commands` calls them."""
