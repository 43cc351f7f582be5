"""dual_encoder."""
