"""What notebook ``02_vae_round_trip`` uses."""
