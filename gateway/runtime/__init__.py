"""What the routes and connections of one process share."""
