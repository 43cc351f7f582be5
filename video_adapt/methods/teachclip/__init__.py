"""TeachCLIP: one vector a video, taught by models that compare every frame with every word."""
