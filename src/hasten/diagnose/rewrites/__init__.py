"""What cannot be exported, written otherwise: torch module -> torch module with the same answers, one file each.

A file says in `SAYS` what it does, as the end of a sentence, and has `rewritten(module, run)`: a new module to stand
for this one, whose names and weights are the same; `run` runs a module on what this one is given in its network.
"""
