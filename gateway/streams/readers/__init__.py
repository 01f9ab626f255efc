"""Reads of the streams of an own log, and the feeds of those who follow them."""
