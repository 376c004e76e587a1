"""Training: data, losses, the loop, and the folder that it writes."""
