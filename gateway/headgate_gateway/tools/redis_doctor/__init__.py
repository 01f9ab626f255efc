"""Examination of a Redis: what its settings mean for the streams that it stores.

`asking` asks the servers and gives facts; the rules (`durability`, `memory`, `access`, `groups`)
make findings of facts without asking anything; `report` runs them all and prints.
"""
