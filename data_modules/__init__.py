"""Lightning data modules: annotation files and videos in, batches of clips out."""
