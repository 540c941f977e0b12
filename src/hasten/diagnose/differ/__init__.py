"""Where do two models, or two engines, begin to differ? Outputs first, then layer by layer, each on its own."""
