"""The frames of `headgate top`, and the terminal that shows them."""
