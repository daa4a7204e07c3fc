"""Canvas: calls written down as data, and combined. Each kind is a dict, so that it travels as what it is.

`signature` (one call) is all that most programs need; the other kinds are loaded when they are first used, by `kinds`.
"""
