"""The parts that can be trained: the VAE, the vocoder, and the network of ``fast``."""
