"""Configurations for the content delivery networks in front of Headgate."""
