"""What is learned: the VAE, the vocoders, and where their weights come from."""
