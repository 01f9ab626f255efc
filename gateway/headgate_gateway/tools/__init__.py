"""Tools that look at servers and their data from outside, for `headgate_gateway.commands`."""
