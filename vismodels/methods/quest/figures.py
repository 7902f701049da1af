"""Pictures of quantized denoisers."""

from collections.abc import Sequence
from pathlib import Path

from vismodels.figures import Picture
from vismodels.methods.quest.workflow_config import QuestWorkflowConfig


def draw_figures(
    config: QuestWorkflowConfig,
    *,
    quantized: Sequence[Path],
    scored: Sequence[Path],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list."""
    return []
