"""What notebooks and reports need beyond the core: plots, players, explorers, runs."""
