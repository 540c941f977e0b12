"""A page of a watch that goes on, for a browser on this machine."""
