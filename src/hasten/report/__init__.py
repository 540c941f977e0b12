"""What was measured, for people: one offline page, and tables for a terminal."""
