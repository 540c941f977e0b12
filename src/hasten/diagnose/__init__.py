"""What is wrong with a model, before it costs anything."""
