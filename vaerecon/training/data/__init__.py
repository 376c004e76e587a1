"""Folders of audio as batches of augmented training crops."""
