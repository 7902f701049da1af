"""Tables, claims and the report: drawn from stored scores, nothing is computed here."""

refuse_unknown_methods()


localrules:
    tables,
    report,


rule tables:
    input:
        **{method: REPORTABLE[method]["scores"] for method in RUN_CONFIG.methods},
    output:
        manifest=f"{RESULTS}/tables/manifest.json",
    log:
        f"{LOGS}/tables.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked(
            "tables.py",
            {"methods": "methods"},
            files=lambda wildcards: [
                f"workflows/{folder}/{method}.yaml"
                for method in RUN_CONFIG.methods
                for folder in ("tables", "paper_values", "claims")
            ],
        ),
    script:
        "../scripts/tables.py"


rule report:
    input:
        acquired=reported("acquired"),
        scores=reported("scores"),
        figures=reported("figures"),
        tables=rules.tables.output.manifest,
    output:
        manifest=f"{RESULTS}/report/manifest.json",
        page=report(
            f"{RESULTS}/report/index.html",
            caption="../report/page.rst",
            category="Report",
        ),
    log:
        f"{LOGS}/report.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked(
            "report.py",
            {"methods": "methods"},
            files=lambda wildcards: ["vismodels/report/page.html.j2"],
        ),
        run=RUN_CONFIG.run,
    script:
        "../scripts/report.py"
