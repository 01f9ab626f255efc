"""What breaks, stops or floods real servers for minutes and hours: `make torture`, `make soak`.

Each module is a program. What it plays is a machine in tests/, of which tests play a little.
"""
