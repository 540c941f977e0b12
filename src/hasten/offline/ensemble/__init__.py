"""Several bundles made into one; `choose` is the verb."""
