"""One file a target of `hasten check`; see `hasten.diagnose.target`."""
