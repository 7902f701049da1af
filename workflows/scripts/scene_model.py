"""Train the small text-to-image model on generated scenes, and have the judge read its images."""

from script_tools import stage

from vismodels.checkpoint import load_weights
from vismodels.synthetic.scene_config import SceneModelConfig
from vismodels.synthetic.scene_judge import SceneJudge
from vismodels.synthetic.scene_model import train_scene_model
from vismodels.synthetic.scene_pipeline import save_scene_model

with stage(snakemake, SceneModelConfig) as s:
    trained = train_scene_model(
        s.config,
        load_weights(SceneJudge, s.input["judge"][0], s.device),
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_scene_model(trained.pipeline, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write(trained.scores)
