"""The logs: one contract, `contract.Log`, and a module or a folder for each kind."""
