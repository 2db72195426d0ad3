"""Models of pipelines: kept by version, tried by a runner before they may be used, chosen by one row."""
