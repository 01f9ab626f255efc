"""Questions of the console to the processes that serve streams, and their answers."""
