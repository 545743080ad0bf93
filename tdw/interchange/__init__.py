"""Import runs of other programs, and export checkpoints to them.

pipeline.py           import_run: read → infer → align → plan → write
hints.py              what the user knows about a run and its files do not state
sniff.py              the type of a file by its bytes, and the restricted unpickler
source_run.py         SourceRun: the contents of a file or folder, in one form for all readers
importers/            readers: Nanda's grokking code, state dicts of TransformerLens, training frameworks, tables, an earlier workbench
log_steps.py          at which number of updates frameworks log
weight_files.py       files of one state dict
weight_layouts.py     conversion of weight layouts, and the check that the network is supported
adamw_state.py        a stored AdamW: its settings, and the state from which training resumes
infer.py              settings inferred from weights, losses and hints
epoch_alignment.py    the meaning of epoch labels, and the split that reproduces the losses
split_search.py       search for the train/test split by the losses
plan.py, write.py     the run to be written, and its project file
exporters/            export_run: state dicts of TransformerLens
"""
