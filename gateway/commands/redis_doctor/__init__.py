"""What the settings of a Redis mean for the streams that live in it.

`asking` asks the servers and gives facts; the rules (`durability`, `memory`, `access`, `groups`)
make findings of facts without asking anything; `report` runs them all and prints.
"""
