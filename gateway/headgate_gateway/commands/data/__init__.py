"""The commands of `headgate data`: copies, backups and retention."""
