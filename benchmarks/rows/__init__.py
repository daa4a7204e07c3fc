"""How each kind of row is measured: a function from a side, a stage and an effort to the figures of one repetition."""
