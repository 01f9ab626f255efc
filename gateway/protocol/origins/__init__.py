"""Other servers of streams: how they are asked, and how their answers are completed."""
