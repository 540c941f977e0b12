"""Answers to many samples when nobody waits: jobs that survive what happens to them."""
