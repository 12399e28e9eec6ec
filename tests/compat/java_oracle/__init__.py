"""Apache's own message classes as an oracle of our tables and codec."""
