"""Pure: observed objects -> what they mean. No clock, no randomness, no reading."""
