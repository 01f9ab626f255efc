"""The subscriptions of routes as operators see and change them, through the admin listener."""
