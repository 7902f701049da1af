"""Train the small transformer that paints classes of scenes, and have the judge read its images."""

from script_tools import stage

from vismodels.checkpoint import load_weights
from vismodels.synthetic.scene_class_model import train_class_model
from vismodels.synthetic.scene_class_pipeline import save_class_model
from vismodels.synthetic.scene_config import SceneClassModelConfig
from vismodels.synthetic.scene_judge import SceneJudge

with stage(snakemake, SceneClassModelConfig) as s:
    trained = train_class_model(
        s.config,
        load_weights(SceneJudge, s.input["judge"][0], s.device),
        seed=s.seed,
        device=s.device,
        checkpoint_dir=s.checkpoint_dir,
    )
    save_class_model(trained.pipeline, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    trained.validation.to_csv(s.folder / "validation.csv")
    s.write(trained.scores)
