"""Access to the console: sign-in, sessions, tokens, and one check before every handler."""
