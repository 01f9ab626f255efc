"""The client of HTTP origins: their servers, connections and health, and one request to them."""
