"""TeachCLIP: one vector a video, taught by models that compare every frame with every word."""

from .method import TeachCLIP
from .network import StudentSpec
from .teacher import TeacherRetriever
from .teaching import Taught

__all__ = ["StudentSpec", "Taught", "TeachCLIP", "TeacherRetriever"]
