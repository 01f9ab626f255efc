"""Changes of many streams: counted, confirmed, and then carried out in the background."""
