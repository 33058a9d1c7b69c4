"""The Snakemake workflow: configuration, cost plan, rules, and start script."""
