"""The uses of tokens: when each holder's was last used, and how often one was refused."""
