"""Tables, claims and the report: drawn from stored scores, nothing is computed here."""

refuse_unknown_methods()


localrules:
    table,
    report,


rule table:
    input:
        scores=lambda wildcards: REPORTABLE[wildcards.method]["scores"],
    output:
        manifest=f"{RESULTS}/tables/{{method}}/manifest.json",
    log:
        f"{LOGS}/table/{{method}}.log",
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        **tracked(
            "table.py",
            {},
            files=lambda wildcards: [
                f"workflows/{folder}/{wildcards.method}.yaml"
                for folder in ("tables", "paper_values", "claims")
            ],
        ),
    script:
        "../scripts/table.py"


rule report:
    input:
        acquired=reported("acquired"),
        scores=reported("scores"),
        figures=reported("figures"),
        tables=collect(rules.table.output.manifest, method=RUN_CONFIG.methods),
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
