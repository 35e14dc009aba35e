"""How long the whole job takes: every rival, cold caches, and the machine's own limits."""
