"""What only training needs: the synthesized corpus, losses and loops. The core does not import it."""
