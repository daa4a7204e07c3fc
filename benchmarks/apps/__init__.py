"""The same small application for each peer; configured by the environment that `case` sets.

Each `<peer>_app` has the tasks of `bodies` and three ways to call them, used by `client`: `enqueue()` (one call without
arguments, as a user writes it), `send_many(task, numbers, countdown)` and `trip()` (call, wait for the result).
"""
