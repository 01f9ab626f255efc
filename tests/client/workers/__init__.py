"""Workers of the library, against Headgate."""
