"""The plays: for each rule of a client what goes wrong, and what must come of it.

Owns: their list. Must never know how a verdict is printed. Each file has those of one subject; a
play is a function of a stage that raises `Broken` where the binding breaks its rule.
"""
