"""Sweeps: many runs in a folder. The project files are the jobs: any process that finds an unfinished one may finish it.

grid      which runs: lists and ranges of settings, random draws
plan      their files: names, what exists already, what they take
manifest  sweep.json, and the runs that failed
job       one run: create its file, or finish it
worker    a process that does one job after the other; workers: a pool of them
work      finish everything in a folder on this computer; dask, slurm: on a cluster
"""
