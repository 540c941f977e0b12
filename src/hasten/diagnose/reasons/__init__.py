"""Reasons why a network is not faster, one file each."""
