"""Text-to-video retrieval: what turns frames into one vector, compares it, and teaches it."""

from .pooling import AttentivePooling, MeanPooling, PooledVideo, masked_mean, masked_softmax
from .similarity import MAX_LOGIT_SCALE, TightSimilarity, in_blocks, similarity_matrix, temperature
from .temporal import QuickGELU, ResidualBlock, TemporalLSTM, TemporalTransformer, Transformer

__all__ = [
    "MAX_LOGIT_SCALE",
    "AttentivePooling",
    "MeanPooling",
    "PooledVideo",
    "QuickGELU",
    "ResidualBlock",
    "TemporalLSTM",
    "TemporalTransformer",
    "TightSimilarity",
    "Transformer",
    "in_blocks",
    "masked_mean",
    "masked_softmax",
    "similarity_matrix",
    "temperature",
]
