"""Text-to-video retrieval: what turns frames into one vector, compares it, and teaches it."""

from .gather import cached_step, encode_in_parts, gather
from .index import Backend, Entry, Hits, Index
from .index_backends import create_index, open_index
from .index_torch import TorchIndex
from .index_vectors import PrecisionLoss, precision_loss
from .losses import (
    coarse_loss,
    contrastive_loss,
    fine_loss,
    pearson_distance,
    positive_pairs,
    relevance_entropy,
    weights_to_logits,
)
from .pooling import AttentivePooling, MeanPooling, PooledVideo, masked_mean, masked_softmax
from .similarity import MAX_LOGIT_SCALE, TightSimilarity, in_blocks, similarity_matrix, temperature
from .teaching import TeachingLoss, TeachingTerms
from .temporal import QuickGELU, ResidualBlock, TemporalLSTM, TemporalTransformer, Transformer

__all__ = [
    "MAX_LOGIT_SCALE",
    "AttentivePooling",
    "Backend",
    "Entry",
    "Hits",
    "Index",
    "MeanPooling",
    "PooledVideo",
    "PrecisionLoss",
    "QuickGELU",
    "ResidualBlock",
    "TeachingLoss",
    "TeachingTerms",
    "TemporalLSTM",
    "TemporalTransformer",
    "TightSimilarity",
    "TorchIndex",
    "Transformer",
    "cached_step",
    "coarse_loss",
    "contrastive_loss",
    "create_index",
    "encode_in_parts",
    "fine_loss",
    "gather",
    "in_blocks",
    "masked_mean",
    "masked_softmax",
    "open_index",
    "pearson_distance",
    "positive_pairs",
    "precision_loss",
    "relevance_entropy",
    "similarity_matrix",
    "temperature",
    "weights_to_logits",
]
