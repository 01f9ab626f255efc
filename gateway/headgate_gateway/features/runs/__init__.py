"""The runs of applications in the streams of a route, as pages for the console."""
