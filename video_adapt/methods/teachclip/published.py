"""How the released files of TeachCLIP and CLIP4Clip name things: rules to our names, declared once.

Their image and text towers carry OpenAI's names below ``clip.``; the rest is the student's.
"""

from video_adapt.checkpoints import KeyRule

# Behind it, OpenAI's names: `CLIP.load_weights` knows them.
TOWER_KEYS = (KeyRule(r"clip\.(.+)", r"\1"),)

STUDENT_KEYS = (
    KeyRule(r"transformerClip\.(.+)", r"temporal.transformer.\1"),
    KeyRule(r"frame_position_embeddings\.weight", "temporal.positions.weight"),
    KeyRule(r"lstm_visual\.(.+)", r"temporal.lstm.\1"),
    KeyRule(r"frameLinear\.(.+)", r"pooling.hidden.\1"),
    KeyRule(r"frameLinear2\.(.+)", r"pooling.score.\1"),
    KeyRule(r"cross\.embeddings\.position_embeddings\.weight", "cross.positions.weight"),
    KeyRule(r"cross\.transformer\.(.+)", r"cross.transformer.\1"),
    KeyRule(r"cross\.pooler\.ln_pool\.(.+)", r"cross.norm.\1"),
    KeyRule(r"cross\.pooler\.dense\.(.+)", r"cross.dense.\1"),
    KeyRule(r"similarity_dense\.(.+)", r"cross.score.\1"),
)
# Two text blocks that the released code copies and never runs; positions beside an LSTM or a mean.
STUDENT_UNUSED = (r"frametransformer\..+", r"temporal\.positions\.weight")
