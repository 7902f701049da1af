"""Train the judge of generated scenes."""

from script_tools import stage

from vismodels.checkpoint import save_weights
from vismodels.synthetic.scene_config import JudgeConfig
from vismodels.synthetic.scene_judge_training import train_judge

with stage(snakemake, JudgeConfig) as s:
    trained = train_judge(s.config, seed=s.seed, device=s.device, checkpoint_dir=s.checkpoint_dir)
    save_weights(trained.judge, s.folder)
    trained.losses.to_csv(s.folder / "losses.csv")
    s.write(trained.scores)
