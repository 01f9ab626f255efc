"""Documents for the writers of settings, made from the declarations."""
