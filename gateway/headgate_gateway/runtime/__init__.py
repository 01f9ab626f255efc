"""Parts that the routes and connections of one process share."""
