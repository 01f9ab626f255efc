"""aiohttp and nothing else: connections, routes, and answers as bytes."""
