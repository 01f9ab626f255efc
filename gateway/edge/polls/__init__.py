"""The polls of a followed stream: the questions to its origin, the answers, the latest news."""
