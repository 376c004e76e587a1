"""What several test modules use; nothing here is collected as a test."""
