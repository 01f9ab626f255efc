"""What was counted in the last day, and what it says."""
