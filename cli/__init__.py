"""How you reach it: the commands `dkv` (a node) and `dkvctl` (everything else)."""
