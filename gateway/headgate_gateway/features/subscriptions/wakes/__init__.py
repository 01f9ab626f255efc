"""The wakes of subscriptions: when they begin and end, and when to try again."""
