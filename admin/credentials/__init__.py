"""The credentials of clients of streams, as the console shows, issues and revokes them."""
