"""Test-time augmentation: views of a sample, undone and merged; `fold` is where they meet the network."""
