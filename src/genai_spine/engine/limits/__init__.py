"""What a call may use before a provider is asked, and who waits for it; state that several processes share."""
