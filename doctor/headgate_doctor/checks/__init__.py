"""The checks of the doctor: each makes requests, and returns its findings."""
