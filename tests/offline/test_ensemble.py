"""Ensembles: the mean, its weights, its forms, and what is refused."""
