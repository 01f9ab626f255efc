"""Signed tokens: the keys that verify them, their claims, and who issues them."""
