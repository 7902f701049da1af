"""Render one set of pages, and degrade them."""

from script_tools import stage

from vismodels.data.pages import write_pages
from vismodels.synthetic.page_sets import SPLITS, PageSetConfig, make_pages, score_pages

with stage(snakemake, PageSetConfig) as s:
    made = {split: make_pages(s.config, split, s.seed) for split in SPLITS}
    sets = {split: pages for split, pages in made.items() if pages}
    for split, pages in sets.items():
        write_pages(pages, s.folder / split)
    s.write(score_pages("synthetic_pages", s.wildcards["card"], s.config, sets, s.seed))
