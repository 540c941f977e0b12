"""Techniques on the torch model: torch → torch. One file a technique, and the file is the registration."""
