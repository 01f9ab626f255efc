"""Background answers that a stopped gateway has left, and that their provider goes on with."""
