"""One frozen class per operation and per result: what both dialects mean."""

from jarvis_secretsd.messages.operations import *  # noqa: F403
from jarvis_secretsd.messages.results import *  # noqa: F403
