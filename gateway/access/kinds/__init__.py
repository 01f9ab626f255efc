"""The authorities for the kinds of credentials, each made by the function that its kind names."""
