"""The parts of the archive of `headgate debug bundle`: figures, no contents, no secrets."""
