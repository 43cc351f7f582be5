"""How the released files of FROSTER name things: rules to our names, declared once.

Student and teacher carry OpenAI's names behind a prefix: ``CLIP.load_weights`` knows them. Training
checkpoints hold the teacher, averaged ones do not.
"""

from video_adapt.checkpoints import KeyRule

STUDENT_KEYS = (KeyRule(r"model\.(.+)", r"\1"),)
TEACHER_KEYS = (KeyRule(r"raw_model\.(.+)", r"\1"),)
RESIDUAL_KEYS = (
    KeyRule(r"projector_v\.0\.weight", "video.inner.weight"),
    KeyRule(r"projector_v\.2\.weight", "video.outer.weight"),
    KeyRule(r"projector_t\.0\.weight", "text.inner.weight"),
    KeyRule(r"projector_t\.2\.weight", "text.outer.weight"),
)
