"""Statistics over many runs: a table of the runs in a folder, censored delays, phase diagrams, frequencies, bands of curves.

collection.py    Runs: the runs in a folder, lazily, to filter and to group
rows.py          one run as a row of plain values
index.py         rows kept from last time, under the identity of each file
where.py         conditions such as "weight_decay=0.3,1"
tables.py        CSV, JSON, Parquet and pandas
outcomes.py      how many runs memorized, generalized, diverged
durations.py     times to an event, censored where it was not reached
survival.py      Kaplan-Meier curves, quantiles, the log-rank test
phase.py         outcomes over two settings
frequencies.py   which frequencies runs choose, compared with chance
figures.py       all of these as Plotly figures
bands.py         mean and quantiles of a curve over runs, aligned by epoch or by an event
forecast.py      will a run generalize and when, as of an epoch
landmark.py      what is known of a run at an epoch
cure_model.py    survival regression with a share of runs that never have the event
forecaster.py    from features to probabilities and intervals
judgment.py     whether forecasts were good on held-out runs
brier.py         Brier scores for censored times
"""
