"""What notebook ``10_vocoder_input`` uses."""
