"""Ten faults as an operator meets them: what the console says of each, from the overview on."""
