"""How events leave the store: pruned, or archived with their stream."""
