"""Who may look and who may change: sign-in, sessions, tokens, one check before every handler."""
