"""Live video: from a source through frame stage, ring of features and window stage to events; see spec/stream.md."""
