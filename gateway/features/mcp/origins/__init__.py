"""Events of streams at an HTTP origin, which tells less of them than a log of our own."""
