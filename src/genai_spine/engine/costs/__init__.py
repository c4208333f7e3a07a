"""What calls may spend, what they have spent, and who is told."""
