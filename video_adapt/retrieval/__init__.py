"""Text-to-video retrieval: what turns frames into one vector, compares it, and teaches it."""

__all__: list[str] = []
