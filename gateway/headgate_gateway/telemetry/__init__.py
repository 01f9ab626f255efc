"""The server as its operator sees it: log lines, metrics, traces, answers to questions."""
