"""Where logs live: one contract, `base.Log`, and a module for each kind."""
