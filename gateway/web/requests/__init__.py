"""A request as handlers have it, and the replies that they return: values, without a decision."""
