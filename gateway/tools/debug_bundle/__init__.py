"""The parts of the archive of `headgate doctor debug`: figures, no contents, no secrets."""
