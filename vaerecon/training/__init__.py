"""What only training needs: the synthesized corpus, losses and loops. Nothing else imports it."""
