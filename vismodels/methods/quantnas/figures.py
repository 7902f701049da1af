"""All pictures of QuantNAS: quality against cost, what was found and how, training, windows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vismodels.data.windows import ORIGINAL, draw_windows
from vismodels.figures import Picture
from vismodels.methods.quantnas.architecture import draw_architecture
from vismodels.methods.quantnas.config import BICUBIC, FiguresConfig, search_of, varied_space
from vismodels.methods.quantnas.course import draw_probabilities
from vismodels.methods.quantnas.pareto import draw_pareto
from vismodels.methods.quantnas.space import FixedSpace, SpaceConfig, candidate
from vismodels.nas.course import draw_entropy
from vismodels.nas.genotype import Genotype, read_genotype
from vismodels.results import SCORES, read_scores
from vismodels.tables.layout import PaperValues
from vismodels.training.curves import draw_losses, draw_training, read_runs
from vismodels.training.log import ScalarLog


def draw_figures(
    config: FiguresConfig,
    *,
    searches: Sequence[Path],
    networks: Sequence[Path],
    scored: Path,
    papers: Sequence[PaperValues],
    folder: Path,
) -> list[Picture]:
    """Draw all pictures into `folder` and return their list.

    Args:
        config: arms, spaces, windows, and which networks are shown.
        searches: folders of the stage `search`.
        networks: folders of the stage `train`.
        scored: folder of the stage `score`.
        papers: values of the paper, with the published points.
        folder: where to draw.
    """
    shown = {search_of(config.networks[name]) for name in config.shown}
    validation = read_runs(networks, "validation.csv")
    losses = read_runs(networks, "losses.csv")
    return [
        draw_pareto(config.networks, read_scores(scored / SCORES), papers, folder),
        *_draw_found(config, searches, shown, folder),
        draw_entropy(read_runs(searches, "losses.csv"), folder),
        draw_training({name: validation[name] for name in config.shown}, folder),
        draw_losses({name: losses[name] for name in config.shown}, folder),
        *(
            draw_windows(crop.image, scored, [ORIGINAL, BICUBIC, *config.shown], folder)
            for crop in config.crops
        ),
    ]


def _draw_found(
    config: FiguresConfig, searches: Sequence[Path], shown: set[str | None], folder: Path
) -> list[Picture]:
    """Draw the first seed of each search: its architecture, and of those shown how it decided."""
    pictures = []
    drawn = set()
    for path in searches:
        (record,) = read_scores(path / SCORES)
        name = record.variant
        if name in drawn:
            continue
        drawn.add(name)
        space = varied_space(config.spaces, config.searches[name])
        genotype, seed = read_genotype(path / "genotype.json"), record.seed or 0
        pictures.append(draw_architecture(name, seed, space, genotype, folder))
        if name in shown:
            course = ScalarLog.read_csv(path / "course.csv")
            options = _candidates(space, genotype)
            pictures.append(draw_probabilities(name, seed, course, genotype, options, folder))
    return pictures


def _candidates(space: SpaceConfig | FixedSpace, genotype: Genotype) -> Mapping[str, Sequence[str]]:
    """Return decision -> candidates; a published network decides on bits alone."""
    if isinstance(space, FixedSpace):
        return {name: [candidate("bits", b) for b in space.bits] for name in genotype.choices}
    return space.candidates()
